"""Options of a server: parameters of a search space that know how they reach the server's command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.search_spaces import Parameter
from tuner.types import Scalar

__all__ = ["How", "Option", "ServerOptions", "as_text"]


class How(StrEnum):
    """How a value reaches a server. All of them need a restart."""

    FLAG = "flag"
    """As `--name value`."""
    SWITCH = "switch"
    """As `--name` or `--no-name`."""
    ENVIRONMENT = "environment"
    """As a variable of the environment."""


def as_text(value: Scalar) -> str:
    """Return `value` as command lines write it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Option:
    """A parameter, and what it does to a command.

    Attributes:
        parameter: Its name, values and default.
        how: How it reaches the server.
        name: The flag, such as `--dtype`, or the variable.
        silent: Values for which nothing is said, so that the engine does what it does by itself.
        render: Turns the value into what is written.

    Example:
        >>> option = Option(Parameter.categorical("dtype", ("auto", "float32")), How.FLAG, "--dtype", silent=("auto",))
        >>> option.words("float32"), option.words("auto")
        (['--dtype', 'float32'], [])
    """

    parameter: Parameter
    how: How
    name: str
    silent: tuple[Scalar, ...] = ()
    render: Callable[[Scalar], str] = as_text

    def words(self, value: Scalar) -> list[str]:
        """Return what the command line says for `value`."""
        if self._is_silent(value) or self.how is How.ENVIRONMENT:
            return []
        if self.how is How.SWITCH:
            is_on = value in (True, "on")
            return [self.name if is_on else self.name.replace("--", "--no-", 1)]
        return [self.name, self.render(value)]

    def variable(self, value: Scalar) -> dict[str, str]:
        """Return the variable that is set for `value`."""
        if self._is_silent(value) or self.how is not How.ENVIRONMENT:
            return {}
        return {self.name: self.render(value)}

    def _is_silent(self, value: Scalar) -> bool:
        return any(type(one) is type(value) and one == value for one in self.silent)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The options that a server has here.

    Attributes:
        kept: Those that it takes.
        dropped: What was left out, and why, a line each: nothing is ever sent that the server does not know.
    """

    kept: tuple[Option, ...]
    dropped: tuple[str, ...] = ()

    @property
    def parameters(self) -> list[Parameter]:
        """Their parameters."""
        return [option.parameter for option in self.kept]

    def only(self, names: Sequence[str]) -> ServerOptions:
        """Return those of the given names; all where none is given."""
        if not names:
            return self
        return ServerOptions(tuple(one for one in self.kept if one.parameter.name in names), self.dropped)

    def words(self, config: Mapping[str, Scalar]) -> list[str]:
        """Return the command line's part of `config`."""
        return [word for one in self.kept for word in one.words(config[one.parameter.name])]

    def environment(self, config: Mapping[str, Scalar]) -> dict[str, str]:
        """Return the environment's part of `config`."""
        variables: dict[str, str] = {}
        for one in self.kept:
            variables |= one.variable(config[one.parameter.name])
        return variables

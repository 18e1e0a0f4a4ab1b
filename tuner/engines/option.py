"""Options of a server: parameters of a search space that know how they reach the server's command."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuner.engines.base import EngineParameter, Route
from tuner.search_spaces import Parameter
from tuner.text import scalar_text
from tuner.types import Scalar

__all__ = ["Option", "ServerOptions", "command_line"]


def command_line(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a shell takes: variables, then the command.

    Example:
        >>> command_line(["serve", "a model"], {"OMP_NUM_THREADS": "2"})
        "OMP_NUM_THREADS=2 serve 'a model'"
    """
    variables = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return " ".join([*variables, shlex.join(words)])


@dataclass(frozen=True, slots=True)
class Option(EngineParameter):
    """A parameter of a server, and what its values do to the command.

    Attributes:
        silent: Values for which nothing is said, so that the engine does what it does by itself.
        is_switch: Whether the flag has no value: it is there, or there as `--no-...`.
        render: Turns the value into what is written.

    Example:
        >>> dtype = Parameter.categorical("dtype", ("auto", "float32"))
        >>> option = Option(dtype, Route.FLAG, "--dtype", silent=("auto",))
        >>> option.words("float32"), option.words("auto")
        (['--dtype', 'float32'], [])
    """

    silent: tuple[Scalar, ...] = ()
    is_switch: bool = False
    render: Callable[[Scalar], str] = scalar_text

    def words(self, value: Scalar) -> list[str]:
        """Return what the command line says for `value`."""
        if self._is_silent(value) or self.route is not Route.FLAG:
            return []
        if self.is_switch:
            return [self.target if value in (True, "on") else self.target.replace("--", "--no-", 1)]
        return [self.target, self.render(value)]

    def variable(self, value: Scalar) -> dict[str, str]:
        """Return the variable that is set for `value`."""
        if self._is_silent(value) or self.route is not Route.VARIABLE:
            return {}
        return {self.target: self.render(value)}

    def with_values(self, values: Sequence[Scalar]) -> Option:
        """Return the option with these values only."""
        old = self.parameter
        return replace(self, parameter=Parameter(old.name, values, old.default, old.ordered, old.when))

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

    def only(self, names: Sequence[str]) -> ServerOptions:
        """Return those of the given names, in the order that they have here; all where none is given."""
        return ServerOptions(tuple(one for one in self.kept if not names or one.name in names), self.dropped)

    def words(self, config: Mapping[str, Scalar]) -> list[str]:
        """Return the command line's part of `config`."""
        return [word for one in self.kept if one.name in config for word in one.words(config[one.name])]

    def environment(self, config: Mapping[str, Scalar]) -> dict[str, str]:
        """Return the environment's part of `config`."""
        variables: dict[str, str] = {}
        for one in self.kept:
            if one.name in config:
                variables |= one.variable(config[one.name])
        return variables

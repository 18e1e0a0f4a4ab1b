"""What a decorated function may run with: a search space, a list of configs (Triton's too), or values by name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tuner.errors import TunerError
from tuner.triton_config import config_of as config_of_triton
from tuner.types import Config, Scalar, Workload, digest

__all__ = ["Choices", "Space", "choices_of", "config_of"]


@runtime_checkable
class Space(Protocol):
    """What is asked of a search space; `tuner.SearchSpace` is one."""

    @property
    def default(self) -> Config:
        """The config to use where nothing is known."""

    @property
    def fingerprint(self) -> str:
        """Identifies the space."""

    def contains(self, config: Mapping[str, Scalar]) -> bool:
        """Return whether `config` is valid."""

    def iterate(self) -> Iterator[Config]:
        """Yield the valid configs."""


@dataclass(frozen=True, slots=True)
class Choices:
    """The configs of a decorated function, as a lookup's guard.

    Attributes:
        space: The search space; None for a list.
        configs: The list, its default first; empty for a search space.
        version: The function's version: hash of its source and of what it may run with.
        hooks: By config, what Triton calls before a launch with it.
        environment: Nothing: a decorated function does not know its tools.
        given: The list as it was given; empty where that was none.
    """

    space: Space | None
    configs: tuple[Config, ...]
    version: str | None = None
    hooks: Mapping[Config, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    given: tuple[Any, ...] = ()

    @property
    def first(self) -> Config:
        """The default."""
        return self.configs[0] if self.space is None else self.space.default

    @property
    def fingerprint(self) -> str:
        """Identifies what may be chosen."""
        return self.space.fingerprint if self.space is not None else digest([dict(config) for config in self.configs])

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the workload as it is."""
        return Workload(fields)

    def default(self, workload: Workload) -> Config:
        """Return the default, which is the same for every workload."""
        return self.first

    def allows(self, config: Config, workload: Workload) -> bool:
        """Return whether `config` may be chosen."""
        return config in self.configs if self.space is None else self.space.contains(config)

    def iterate(self) -> Iterator[Config]:
        """Yield all that may be chosen."""
        return iter(self.configs) if self.space is None else self.space.iterate()


def choices_of(given: Any) -> Choices:
    """Return what a function may run with.

    Args:
        given: A search space; values by parameter, of which all combinations are meant; or a list of configs, each a
            mapping or a `triton.Config`. The first of each is the default.

    Raises:
        TunerError: it is none of these, or empty.

    Example:
        >>> [dict(config) for config in choices_of({"BLOCK": [64, 128], "WARPS": [4]}).iterate()]
        [{'BLOCK': 64, 'WARPS': 4}, {'BLOCK': 128, 'WARPS': 4}]
    """
    if isinstance(given, Space):
        return Choices(given, ())
    if isinstance(given, Mapping):
        combinations = itertools.product(*given.values())
        return Choices(None, tuple(Config(dict(zip(given, values, strict=True))) for values in _some(combinations)))
    if isinstance(given, Sequence) and not isinstance(given, str):
        configs = list(map(config_of, _some(iter(given))))
        hooks = {config: one.pre_hook for config, one in zip(configs, given, strict=True) if _hooked(one)}
        return Choices(None, tuple(dict.fromkeys(configs)), hooks=hooks, given=tuple(given))
    raise TunerError(f"{given!r} is no search space, list of configs, or mapping from parameters to their values")


def config_of(given: Any) -> Config:
    """Return a mapping, or a `triton.Config` without what it says of nothing, as a config.

    Raises:
        TunerError: it is something else.
    """
    return Config(given) if isinstance(given, Mapping) else config_of_triton(given)


def _some(items: Iterator[Any]) -> list[Any]:
    found = list(items)
    if not found:
        raise TunerError("there is no config to choose; give at least one")
    return found


def _hooked(one: Any) -> bool:
    return not isinstance(one, Mapping) and one.pre_hook is not None

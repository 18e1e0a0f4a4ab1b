"""Which configs are worth measuring for the arguments at hand, in Triton's words (`prune_configs_by`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.decorator.choices import config_of
from tuner.errors import TunerError
from tuner.types import Config

__all__ = ["Pruning"]

_PARTS = ("early_config_prune", "perf_model", "top_k")


@dataclass(frozen=True, slots=True)
class Pruning:
    """Triton's own words for it.

    Attributes:
        early_config_prune: Takes the configs as they were given, the arguments that were passed by position, by name,
            and as keywords those that were passed so; returns those to keep, at least one.
        perf_model: Takes all arguments and a config as keywords; returns how long it expects a call to take, in any
            unit.
        top_k: So many of those that the model expects to be the quickest are kept; a share of them where it is a float.
    """

    early_config_prune: Callable[..., Sequence[Any]] | None = None
    perf_model: Callable[..., float] | None = None
    top_k: int | float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Pruning | None:
        """Return what `prune_configs_by` says; None where it says nothing.

        Raises:
            TunerError: a part is unknown or has a value that is not taken.
        """
        if not given:
            return None
        if unknown := sorted(set(given) - set(_PARTS)):
            raise TunerError(f"prune_configs_by has {', '.join(unknown)}; its parts are {', '.join(_PARTS)}")
        for name in _PARTS[:2]:
            if (part := given.get(name)) is not None and not callable(part):
                raise TunerError(f"{name}={part!r} of prune_configs_by is not a function")
        top = given.get("top_k", 1.0)
        whole = isinstance(top, int) and not isinstance(top, bool) and top >= 1
        if not whole and not (isinstance(top, float) and 0 < top <= 1):
            raise TunerError(f"top_k={top!r} of prune_configs_by is neither a number from 1 on nor a share up to 1.0")
        if "top_k" in given and given.get("perf_model") is None:
            raise TunerError(
                "top_k of prune_configs_by is of those that perf_model expects to be quick; give perf_model"
            )
        return cls(given.get("early_config_prune"), given.get("perf_model"), top)

    def kept(self, given: Sequence[Any], named: Mapping[str, Any], keywords: Mapping[str, Any]) -> list[Config]:
        """Return the configs to measure, the most promising first where there is a model.

        Args:
            given: The configs, as the function was given them: mappings or `triton.Config`.
            named: What was passed by position, by the arguments' names.
            keywords: What was passed by name, with the grid of a launch.

        Raises:
            TunerError: none is left.
        """
        left = list(given)
        if self.early_config_prune is not None:
            left = list(self.early_config_prune(left, dict(named), **keywords))
            if not left:
                raise TunerError("early_config_prune left no config; it has to return at least one")
        if self.perf_model is not None:
            count = max(1, int(len(left) * self.top_k)) if isinstance(self.top_k, float) else self.top_k
            if len(left) > count:
                model = self.perf_model
                left = sorted(left, key=lambda one: model(**named, **keywords, **_arguments_of(one)))[:count]
        return list(dict.fromkeys(map(config_of, left)))


def _arguments_of(one: Any) -> dict[str, Any]:
    """Return a config as keyword arguments, with what Triton's has beside its own parameters."""
    return dict(one) if isinstance(one, Mapping) else dict(one.all_kwargs())

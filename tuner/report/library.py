"""The libraries that drawing needs, each loaded when it is first used: they are slow to load, and an extra.

Commands that do not draw start without them, and where one is not installed, whoever draws is told so in one line.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tuner.errors import MissingDependencyError

__all__ = ["altair", "ensemble", "inspection", "jinja2", "metrics", "model_selection", "require_all", "vl_convert"]


def require_all() -> None:
    """Load all of them now.

    Raises:
        MissingDependencyError: one is not installed.
    """
    for name in _NAMES:
        _load(name)


def _load(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"tuner report needs the package {error.name!r}; pip install 'rltuner[report]'"
        ) from error


class _Library:
    """Stands for a module until something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        # Whoever looks at this object itself, as doctest does, asks for nothing of the module.
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(_load(self._name), attribute)


_NAMES = (
    "altair",
    "jinja2",
    "sklearn.ensemble",
    "sklearn.inspection",
    "sklearn.metrics",
    "sklearn.model_selection",
    "vl_convert",
)

if TYPE_CHECKING:
    import altair
    import jinja2
    import vl_convert
    from sklearn import ensemble, inspection, metrics, model_selection
else:
    altair, jinja2, ensemble, inspection, metrics, model_selection, vl_convert = map(_Library, _NAMES)

"""What went wrong, logged once for each cause, from any thread and without a lock."""

from __future__ import annotations

import logging

__all__ = ["Once"]

_MOST_CAUSES = 256


class Once:
    """Logs a cause when it first comes up; after so many different ones, none.

    Args:
        logger: Where to.

    Example:
        >>> once = Once(logging.getLogger("tuner.doctest"))
        >>> once.causes
        []
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._causes: dict[str, object] = {}

    @property
    def causes(self) -> list[str]:
        """The causes that were logged, and have not been settled since."""
        return list(self._causes)

    def warn(self, cause: str, message: str) -> None:
        """Log `message` as a warning, unless this cause was logged before."""
        if len(self._causes) >= _MOST_CAUSES:
            return
        # One of several threads finds its own mark; setting a default is one step of the interpreter.
        mark = object()
        if self._causes.setdefault(cause, mark) is mark:
            self._logger.warning("%s", message)

    def settle(self, cause: str, message: str) -> None:
        """Log that a cause is no more, if it was logged; it is logged again when it comes back."""
        if self._causes.pop(cause, None) is not None:
            self._logger.info("%s", message)

"""What is done to arguments around a call that only measures, so that many such calls are as good as none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Hooks"]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Triton's own words for it (`triton.autotune`), for tensors of torch.

    Attributes:
        reset_to_zero: Names of arguments that are zeroed before each call.
        restore_value: Names of arguments that have their values back after each call.
        pre_hook: Called before each call with all arguments by name, and with `reset_only=True` when no call that
            measures follows; takes the place of the two above.
        post_hook: Called after each call with all arguments by name and the exception, None if there was none.
    """

    reset_to_zero: Sequence[str] = ()
    restore_value: Sequence[str] = ()
    pre_hook: Callable[..., Any] | None = None
    post_hook: Callable[..., Any] | None = None

    @contextmanager
    def around(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Prepare the arguments of a call that measures, and put them back."""
        copies = {} if self.pre_hook else self._copies(arguments)
        if self.pre_hook is not None:
            self.pre_hook(dict(arguments))
        else:
            self._zero(arguments)
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            if self.post_hook is not None:
                self.post_hook(dict(arguments), exception=failure)
            for name, value in copies.items():
                arguments[name].copy_(value)

    def reset(self, arguments: Mapping[str, Any]) -> None:
        """Prepare the arguments of the call that follows those that measured, which nothing puts back."""
        if self.pre_hook is not None:
            self.pre_hook(dict(arguments), reset_only=True)
        else:
            self._zero(arguments)

    def _copies(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: arguments[name].clone() for name in self.restore_value if arguments[name] is not None}

    def _zero(self, arguments: Mapping[str, Any]) -> None:
        for name in self.reset_to_zero:
            if arguments[name] is not None:
                arguments[name].zero_()

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
        pre_hook: Called before each call with all arguments by name; takes the place of the two above.
        post_hook: Called after each call with all arguments by name and the exception, None if there was none.
    """

    reset_to_zero: Sequence[str] = ()
    restore_value: Sequence[str] = ()
    pre_hook: Callable[..., Any] | None = None
    post_hook: Callable[..., Any] | None = None

    @contextmanager
    def around(self, arguments: Mapping[str, Any]) -> Iterator[None]:
        """Prepare the arguments of a call that measures, and put them back."""
        copies = {name: arguments[name].clone() for name in self.restore_value}
        if self.pre_hook is not None:
            self.pre_hook(dict(arguments))
        else:
            for name in self.reset_to_zero:
                arguments[name].zero_()
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

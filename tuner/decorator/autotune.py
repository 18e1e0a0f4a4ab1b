"""The decorator."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from tuner.decorator.choices import choices_of
from tuner.decorator.hook import Hooks
from tuner.decorator.key import Key
from tuner.decorator.prune import Pruning
from tuner.decorator.timing import Timing
from tuner.decorator.tuned import Setting, TunedFunction, TunedKernel
from tuner.errors import TunerError
from tuner.lookup import Lookup
from tuner.types import Device, Scalar

__all__ = ["Mode", "autotune"]


class Mode(StrEnum):
    """What a call does.

    `lookup` runs the winner, or what comes nearest, or the default, and counts the miss; it never measures. `tune`
    measures at the first call of a workload, and stores the winner: for development. `off` runs the default.
    """

    LOOKUP = "lookup"
    TUNE = "tune"
    OFF = "off"


def autotune(
    space: Any = None,
    key: Sequence[str] | Mapping[str, str] = (),
    *,
    configs: Sequence[Any] | None = None,
    mode: Mode | str = Mode.LOOKUP,
    store: Lookup | str | Path | Any | None = None,
    kernel: str | None = None,
    device: Device | str | None = None,
    fields: Mapping[str, Scalar] | None = None,
    trials: int = 100,
    same: Callable[[Any, Any], bool] | None = None,
    prune_configs_by: Mapping[str, Any] | None = None,
    reset_to_zero: Sequence[str] | None = None,
    restore_value: Sequence[str] | None = None,
    pre_hook: Callable[..., Any] | None = None,
    post_hook: Callable[..., Any] | None = None,
    warmup: float | None = None,
    rep: float | None = None,
    use_cuda_graph: bool = False,
    do_bench: Callable[..., Any] | None = None,
    cache_results: bool = False,
) -> Callable[[Any], Any]:
    """Return a decorator for a `triton.jit` function or a plain callable, which then runs with the config to use.

    Beside `triton.autotune` it is a change of one word: it takes a list of `triton.Config` and a `key`, launches as
    `kernel[grid](...)`, and the dtypes of all tensors belong to the workload. The first config is the default.

    Args:
        space: With what it may run: a `SearchSpace`; a mapping from parameters to their values; or a list of configs,
            mappings or `triton.Config`. The first is the default.
        key: The arguments that make the workload, or attributes of them (`x_ptr.dtype`); or a mapping from the
            workload's fields to them. The dtypes of a Triton kernel's tensors are added to a list (`x_ptr.dtype`),
            unless `kernel` names whose workloads they have to fit.
        configs: What `triton.autotune` calls a list of configs; instead of `space`.
        mode: `lookup`, `tune` or `off`.
        store: Where winners are: a `Lookup`, or what `Lookup.open` takes; by default, the user's own store. It is
            opened by the first call, or by `prepare`.
        kernel: The name under which it is looked up, such as that of a tunable that campaigns tune; by default, module
            and name of the function.
        device: The device that asks; see `Lookup.open`. By default, for a Triton kernel `cuda`, else `cpu`.
        fields: Fields of the workload that are the same for every call.
        trials: `tune` measures at most so many configs of a workload.
        same: Whether what a call of `tune` returned, and what it left in each tensor or array that it was given, is
            as good as what the default's did; by default, whether they are equal, tensors and arrays whether close.
        prune_configs_by: As in Triton: which configs `tune` measures (`early_config_prune`, `perf_model`, `top_k`).
        reset_to_zero: As in Triton: arguments to zero before each call that measures.
        restore_value: As in Triton: arguments to put back after each call that measures.
        pre_hook: As in Triton: called before each call that measures, and with `reset_only=True` after the last.
        post_hook: As in Triton: called after each call that measures.
        warmup: As in Triton: for how many milliseconds a kernel runs before it is measured; 2 by default.
        rep: As in Triton: for how many milliseconds it is measured, each time that it is its turn; 10 by default.
        use_cuda_graph: As in Triton: whether a CUDA graph of launches is timed.
        do_bench: As in Triton: what to measure with.
        cache_results: As in Triton, but whatever it says: what `tune` finds is kept in the store.

    Raises:
        TunerError: an argument says what is not taken, or two arguments say different things; when decorating.

    Example:
        >>> from tuner.db import MemoryStore
        >>> @autotune({"chunk": [256, 1024]}, key=["n"], store=MemoryStore(), mode="off")
        ... def chunks(n, chunk):
        ...     return -(-n // chunk)
        >>> chunks(1000)
        4
    """
    if (space is None) == (configs is None):
        raise TunerError("give either space or configs: what the function may run with")
    if mode not in tuple(Mode):
        raise TunerError(f"mode={mode!r} is none of {', '.join(Mode)}")
    pruning = Pruning.of(prune_configs_by)
    choices = choices_of(space if configs is None else configs)
    hooks = Hooks(tuple(reset_to_zero or ()), tuple(restore_value or ()), pre_hook, post_hook)

    def decorate(function: Any) -> TunedFunction | TunedKernel:
        is_kernel = hasattr(function, "run") and hasattr(function, "arg_names")
        plain = _plain(function)
        names = list(function.arg_names) if is_kernel else list(inspect.signature(function).parameters)
        _require_arguments(names, reset_to_zero=hooks.reset_to_zero, restore_value=hooks.restore_value)
        setting = Setting(
            kernel or f"{plain.__module__}:{plain.__qualname__}",
            replace(choices, version=None if kernel else _version(plain, choices.fingerprint)),
            Key(key, names, _defaults(plain)),
            constants=fields or {},
            mode=Mode(mode).value,
            where=store,
            device=device or ("cuda" if is_kernel else "cpu"),
            hooks=hooks,
            trials=trials,
            same=same,
            pruning=pruning,
            timing=Timing.of(do_bench, warmup, rep, use_cuda_graph, is_kernel=is_kernel),
            with_dtypes=is_kernel and kernel is None and not isinstance(key, Mapping),
        )
        return TunedKernel(function, setting) if is_kernel else TunedFunction(function, setting, names)

    return decorate


def _plain(function: Any) -> Any:
    """Return the Python function inside what may be wrapped by Triton's decorators."""
    while not inspect.isfunction(function) and hasattr(function, "fn"):
        function = function.fn
    return function


def _defaults(function: Any) -> dict[str, Any]:
    """Return what arguments are that a call may leave out."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def _version(function: Any, choices: str) -> str:
    """Return the hash of a function's source and of what it may run with."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(getattr(getattr(function, "__code__", None), "co_code", function))
    return hashlib.sha256(f"{choices}\n{source}".encode()).hexdigest()[:16]


def _require_arguments(names: Sequence[str], **lists: Sequence[str]) -> None:
    """Refuse names that are no arguments, which would be zeroed or put back in vain.

    Raises:
        TunerError: there is one.
    """
    for word, named in lists.items():
        if unknown := [name for name in named if name not in names]:
            raise TunerError(f"{word} names {', '.join(unknown)}; the function's arguments are {', '.join(names)}")

"""A decorated function, and a decorated Triton kernel: a lookup, then the call."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuner.decorator.choices import Choices
from tuner.decorator.hook import Hooks
from tuner.decorator.key import Key
from tuner.decorator.prune import Pruning
from tuner.decorator.timing import Clock, Timing
from tuner.errors import TunerError
from tuner.lookup import Choice, Lookup, Source
from tuner.reference import import_reference
from tuner.types import Config, Scalar, canonical_json

__all__ = ["Setting", "TunedFunction", "TunedKernel"]

# What tunes needs numpy and a store; who only looks up does not.
_TUNE_HERE = "tuner.decorator.in_place:tune_here"
_DEFAULT_STORE = "tuner.db.sql:default_store_url"

_MOST_KEPT = 16384


class Setting:
    """What is decorated, under which name it is looked up, with what it may run, and where winners are.

    Args:
        name: The kernel's name in lookups.
        choices: With what it may run.
        key: How a call's workload is read.
        constants: Fields that are the same for every call.
        mode: `lookup`, `tune` or `off`.
        where: A lookup, or what `Lookup.open` takes; None for the user's own store.
        device: The device that asks.
        hooks: What is done around calls that measure.
        trials: The most configs that are measured for a workload.
        same: Whether what a call returned is as good as what the default's did.
        timing: How calls are timed.
        pruning: Which configs are to be measured for the arguments at hand; None for all.
        with_dtypes: Whether the dtypes of all tensors of the first call belong to the workload.
    """

    def __init__(
        self,
        name: str,
        choices: Choices,
        key: Key,
        *,
        constants: Mapping[str, Scalar],
        mode: str,
        where: Any,
        device: Any,
        hooks: Hooks,
        trials: int,
        same: Callable[[Any, Any], bool] | None,
        timing: Timing,
        pruning: Pruning | None = None,
        with_dtypes: bool = False,
    ) -> None:
        self.name = name
        self.with_dtypes = with_dtypes
        self.choices = choices
        self.key = key
        self.constants = dict(constants)
        self.mode = mode
        self.hooks = hooks
        self.trials = trials
        self.same = same
        self.pruning = pruning
        self.timing = timing
        self._where = where
        self._device = device
        self._lookup: Lookup | None = None
        self._opening = threading.Lock()

    @property
    def lookup(self) -> Lookup:
        """What is asked; opened when it is first needed, or before by `prepare`."""
        return self._lookup or self._opened()

    def _opened(self) -> Lookup:
        with self._opening:
            if self._lookup is None:
                if isinstance(self._where, Lookup):
                    self._where.guard(self.name, self.choices)
                    self._lookup = self._where
                else:
                    guards = {self.name: self.choices}
                    self._lookup = Lookup.open(self.store_url(), device=self._device, kernels=guards)
            return self._lookup

    def store_url(self) -> Any:
        """Return where winners are."""
        if self._where is not None:
            return self._where
        default: Any = import_reference(_DEFAULT_STORE)
        return default()

    def fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return the workload of a call."""
        if self.with_dtypes:
            self.with_dtypes = False
            self.key = self.key.with_dtypes(args, kwargs)
        fields = self.key.fields(args, kwargs)
        return fields | self.constants if self.constants else fields


@dataclass(frozen=True, slots=True)
class _Launch:
    """How to launch a kernel: remembered by what tells workloads apart, as long as a lookup's answers hold."""

    config: Config
    keywords: Mapping[str, Any]
    hook: Callable[[dict[str, Any]], Any] | None
    again: Callable[[], object]
    generation: object


def _nothing() -> None:
    """Count nothing."""


class _Tuned:
    """What functions and kernels have in common."""

    def __init__(self, function: Any, setting: Setting) -> None:
        self.fn = function
        self.setting = setting
        self._tuning = threading.Lock()
        self._looks_up = setting.mode == "lookup"
        self._settled: dict[str, Choice] = {}
        self._kept: dict[int, tuple[Config, dict[str, Any]]] = {}
        self._off = Choice(setting.choices.first, Source.DEFAULT)

    def prepare(self) -> None:
        """Open the winners, so that the first call need not: call it when a server starts."""
        if self.setting.mode != "off":
            _ = self.setting.lookup

    def choice(self, *args: Any, **kwargs: Any) -> Choice:
        """Return the config that a call with these arguments, of a kernel with its `grid`, runs with, and why."""
        return self._chosen(args, kwargs)

    def _chosen(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Choice:
        setting = self.setting
        if setting.mode == "off":
            return self._off
        fields = setting.fields(args, kwargs)
        choice = setting.lookup.best(setting.name, **fields)
        if self._looks_up or choice.source is Source.EXACT:
            return choice
        key = canonical_json(fields)
        with self._tuning:
            # Another thread may have tuned meanwhile; and where the default was kept, that is that.
            if key not in self._settled:
                self._settled[key] = self._tuned(fields, args, kwargs)
            return self._settled[key]

    def _tuned(self, fields: Mapping[str, Scalar], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Choice:
        """Tune for these arguments, store the winner, and return the choice; a default that was kept is one, too."""
        setting = self.setting
        where = setting.store_url()
        if isinstance(where, Lookup) or str(where).endswith(".json"):
            raise TunerError(f"mode='tune' of {setting.name} needs a store to keep winners in; give its URL or path")
        tune_here: Any = import_reference(_TUNE_HERE)
        choice: Choice = tune_here(self, fields, args, kwargs, where)
        setting.lookup.reload()
        return choice

    def keywords(self, config: Config) -> dict[str, Any]:
        """Return a config as keyword arguments; made once for each that a lookup answers."""
        kept = self._kept.get(id(config))
        if kept is not None:
            return kept[1]
        if len(self._kept) >= _MOST_KEPT:
            self._kept = {}
        # The config is held, so that nothing else can get its identity.
        made = dict(config)
        self._kept[id(config)] = (config, made)
        return made

    def named(self, args: Sequence[Any]) -> dict[str, Any]:
        """Return what is passed by position, by name."""
        raise NotImplementedError

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], config: Config) -> dict[str, Any]:
        """Return all arguments of a call by name, as hooks are told them."""
        return {**self.named(args), **kwargs, **config}

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any], config: Config) -> Any:
        """Call with a config."""
        raise NotImplementedError

    def clock(self) -> Clock:
        """Return what times a call.

        Raises:
            TunerError: there is nothing to time it on.
        """
        raise NotImplementedError


class TunedFunction(_Tuned):
    """A plain callable that takes its config as keyword arguments.

    Example:
        >>> from tuner.db import MemoryStore
        >>> from tuner.decorator import autotune
        >>> @autotune({"block": [64, 128]}, key=["n"], store=MemoryStore(), device="cpu")
        ... def total(n, block):
        ...     return sum(min(block, n - start) for start in range(0, n, block))
        >>> total(1000), total.choice(1000).source.value
        (1000, 'default')
    """

    def __init__(self, function: Callable[..., Any], setting: Setting, names: Sequence[str]) -> None:
        super().__init__(function, setting)
        self._names = tuple(names)
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the config for these arguments."""
        return self.fn(*args, **kwargs, **self.keywords(self._chosen(args, kwargs).config))

    def named(self, args: Sequence[Any]) -> dict[str, Any]:
        """Return what is passed by position, by name."""
        return dict(zip(self._names, args, strict=False))

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any], config: Config) -> Any:
        """Call with a config."""
        return self.fn(*args, **kwargs, **config)

    def clock(self) -> Clock:
        """Return what times a call, by the wall clock unless `do_bench` says otherwise."""
        seconds: Clock = import_reference("tuner.decorator.in_place:wall_seconds")  # type: ignore[assignment]
        return self.setting.timing.own_clock() or seconds


class TunedKernel(_Tuned):
    """A Triton kernel, launched as `kernel[grid](...)`; unlike `triton.autotune`'s, it measures only when told to."""

    def __init__(self, function: Any, setting: Setting) -> None:
        super().__init__(function, setting)
        self.arg_names = function.arg_names
        self.__name__ = getattr(function, "__name__", setting.name)
        self._hooks = setting.choices.hooks
        self._launches: dict[Any, _Launch] = {}
        self._quick: Callable[[Sequence[Any]], Any] = lambda _: None
        self._generation: Callable[[], object] = lambda: None

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        """Return what launches the kernel on `grid`."""
        return functools.partial(self.run, grid=grid, warmup=False)

    def run(self, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        """Launch with the config for these arguments."""
        try:
            launch = self._launches.get(self._quick(args))
        except (AttributeError, TypeError):  # None instead of a tensor, or what cannot be looked up
            launch = None
        if launch is None or launch.generation is not self._generation():
            launch = self._launch(args, kwargs, grid)
        launch.again()
        if launch.hook is not None:
            launch.hook(self.arguments(args, kwargs, launch.config))
        return self.fn.run(*args, grid=grid, warmup=warmup, **kwargs, **launch.keywords)

    def _launch(self, args: Sequence[Any], kwargs: Mapping[str, Any], grid: Any) -> _Launch:
        """Return how to launch with these arguments, and remember it where that is quicker to find."""
        setting = self.setting
        if not self._looks_up:
            config = self._chosen(args, {**kwargs, "grid": grid}).config
            return _Launch(config, dict(config), self._hooks.get(config), _nothing, None)
        fields = setting.fields(args, kwargs)
        answer = setting.lookup.remember(setting.name, fields)
        config = answer.choice.config
        if not config:
            config = setting.choices.first
        launch = _Launch(config, dict(config), self._hooks.get(config), answer.again, answer.generation)
        self._quick = setting.key.quick
        self._generation = setting.lookup.generation
        if len(self._launches) >= _MOST_KEPT:
            self._launches = {}
        try:
            quick = setting.key.quick(args)
            if quick is not None:
                self._launches[quick] = launch
        except (AttributeError, TypeError):
            pass
        # `remember` has counted this one.
        return replace(launch, again=_nothing)

    def warmup(self, *args: Any, grid: Any, **kwargs: Any) -> Any:
        """Compile for these arguments with the config that a launch would have."""
        config = self._chosen(args, {**kwargs, "grid": grid}).config
        return self.fn.warmup(*args, grid=grid, **kwargs, **self.keywords(config))

    def named(self, args: Sequence[Any]) -> dict[str, Any]:
        """Return what is passed by position, by name."""
        return dict(zip(self.arg_names, args, strict=False))

    def arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any], config: Config) -> dict[str, Any]:
        """Return all arguments of a call by name, without the grid."""
        given = {name: value for name, value in kwargs.items() if name != "grid"}
        return super().arguments(args, given, config)

    def call(self, args: Sequence[Any], kwargs: Mapping[str, Any], config: Config) -> None:
        """Launch with a config, on the grid that is among `kwargs`.

        Raises:
            TunerError: there is none.
        """
        if "grid" not in kwargs:
            raise TunerError(f"to tune {self.setting.name}, a grid is needed: choice(..., grid=...)")
        hook = self._hooks.get(config)
        if hook is not None:
            hook(self.arguments(args, kwargs, config))
        # What it returns is the compiled kernel, not a result.
        self.fn.run(*args, warmup=False, **kwargs, **config)

    def clock(self) -> Clock:
        """Return what times a launch, by Triton's own benchmark on the device unless `do_bench` says otherwise.

        Raises:
            TunerError: there is no device.
        """
        if own := self.setting.timing.own_clock():
            return own
        clock_of: Any = import_reference("tuner.decorator.in_place:gpu_clock")
        found: Clock = clock_of(self.setting.name, self.setting.timing)
        return found

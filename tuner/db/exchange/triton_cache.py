"""Entries of Triton's own cache of autotuning results, `KERNEL.autotune.json`: read, and written by Triton itself.

Triton keeps one entry for a kernel, a list of configs and a tuning key, in a folder that is named by a hash of these
and of its own version, the compiler's and the target. The hash tells nothing, so that who reads an entry says the
device. Who writes one lets Triton do it, with the target of the winner's device in the driver's place: no GPU is
needed, and what is hashed is what the installed Triton hashes. Fields are those of Triton 3.9
(`runtime/autotuner.py`).
"""

from __future__ import annotations

import importlib
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Finding, Origin, Reading, Request, Selection, Writing
from tuner.db.exchange.triton_config import config_of, triton_configs
from tuner.errors import ExchangeError, MissingDependencyError
from tuner.gpus import limits_of
from tuner.reference import import_reference
from tuner.types import Config, Device, Scalar, Winner, Workload

__all__ = ["TritonCacheFiles"]

_SUFFIX = ".autotune.json"
_SECONDS_PER_MILLISECOND = 1e-3
# What Triton asks a benchmark for.
_QUANTILES = (0.5, 0.2, 0.8)
_OWN_FIELDS = frozenset({"kwargs", "num_warps", "num_stages", "num_ctas", "maxnreg", "pre_hook", "ir_override"})


class TritonCacheFiles:
    """Reads an entry or a folder of them, and writes entries that Triton's autotuner takes instead of measuring.

    Example:
        >>> TritonCacheFiles().about
        "entries of triton.autotune's cache on disk, with times of every config"
    """

    program = "Triton"
    about = "entries of triton.autotune's cache on disk, with times of every config"
    content = Content.WINNERS

    def takes(self, tunable: str) -> bool:
        """Return True: the other choices say of which kernel it is to be."""
        return True

    def read(self, path: Path, request: Request) -> Reading:
        """Return the findings of an entry, or of all entries below a folder, by the rule that Triton chooses by.

        They are of `triton.autotune:KERNEL` unless a kernel is asked for. Values of the tuning key have the names that
        are asked for, in order; the rest, such as the dtypes of tensors, are `key_I`.

        Raises:
            ExchangeError: an entry cannot be read or is not of this format, there is none, or no device is given.
        """
        files = sorted(path.rglob(f"*{_SUFFIX}")) if path.is_dir() else [path]
        if not files:
            raise ExchangeError(f"{path} has no entry of Triton's autotuner, no file that ends in {_SUFFIX}")
        return Reading(tuple(_finding(read_document(file), request) for file in files))

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write an entry for each winner below the folder `path`, which is to be Triton's cache folder.

        Raises:
            ExchangeError: Triton would not read it: the autotuner has hooks or prunes, the winner's config is not one
                of its configs, its workload lacks a field of the key, or its time is not known.
        """
        if not selection.autotuner:
            raise ExchangeError("whose entry is it? name the decorated function: --autotuner path/to/file.py:kernel")
        autotuner = _autotuner(selection.autotuner)
        written: dict[Path, str] = {}
        for winner in selection.winners:
            name, text = _entry(autotuner, winner, selection.dtypes)
            if path / name in written:
                raise ExchangeError(f"winner {winner.id} is for the same tuning key as another; choose with -w")
            written[path / name] = text
        notes = (
            f"Triton reads them with TRITON_CACHE_DIR={path} and TRITON_CACHE_AUTOTUNING=1, or cache_results=True",
        )
        return Writing(write_documents(written), len(written), notes)


def _finding(document: Document, request: Request) -> Finding:
    name = document.path.name
    if not name.endswith(_SUFFIX):
        raise ExchangeError(f"{document.path} is no entry of Triton's autotuner, whose names end in {_SUFFIX}")
    # A config that could not be launched has an infinite time, which Triton writes as Python does.
    data = document.json_object(infinity=True)
    key, timings = data.get("key"), data.get("configs_timings")
    if not isinstance(key, list) or not all(isinstance(value, bool | int | float | str) for value in key):
        raise document.error("field 'key'", "is missing, or not a list of numbers, texts and truth values")
    if not isinstance(timings, list) or not timings:
        raise document.error("field 'configs_timings'", "is missing, empty, or not a list")
    timed = [_timed(document, index, entry) for index, entry in enumerate(timings)]
    # The first of the smallest, compared like Python's lists, is what Triton takes.
    times, config = min(timed, key=lambda one: one[0])
    if not math.isfinite(times[0]):
        raise document.error("field 'configs_timings'", "has no config that ran")
    fields = {request.keys[place] if place < len(request.keys) else f"key_{place}": v for place, v in enumerate(key)}
    if len(fields) < len(key) or fields.keys() & request.fields.keys():
        raise document.error("field 'key'", f"has values for fields that are given twice: {', '.join(request.keys)}")
    return Finding(
        request.kernel or f"triton.autotune:{name.removesuffix(_SUFFIX)}",
        Workload({**fields, **request.fields}),
        request.need_device(document),
        config,
        Origin.of("Triton", document),
        seconds=_SECONDS_PER_MILLISECOND * times[0],
        details={"cache_key": document.path.parent.name, "configs_measured": len(timed)},
    )


def _timed(document: Document, index: int, entry: Any) -> tuple[list[float], Config]:
    field = f"field 'configs_timings[{index}]'"
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], dict):
        raise document.error(field, "is not a pair of a config and its times")
    described, times = entry
    if odd := sorted(set(described) - _OWN_FIELDS):
        raise document.error(field, f"has the field {odd[0]!r}, which Triton's configs do not have")
    times = times if isinstance(times, list) else [times]
    if not times or not all(isinstance(t, int | float) and not isinstance(t, bool) and t >= 0 for t in times):
        raise document.error(field, f"has the times {times!r}, which are not numbers of 0 or more")
    try:
        return [float(time) for time in times], config_of(_Described(described))
    except ExchangeError as error:
        raise document.error(field, str(error)) from error


class _Described:
    """A config as the entry describes it, with the attributes of Triton's own."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.kwargs = described.get("kwargs")
        for name in _OWN_FIELDS - {"kwargs"}:
            setattr(self, name, described.get(name))

    def __str__(self) -> str:
        return "it"


def _autotuner(reference: str) -> Any:
    found = import_reference(reference)
    for name in ("configs", "keys", "check_disk_cache"):
        if not hasattr(found, name):
            raise ExchangeError(f"{reference} is a {type(found).__name__}, not a function under @triton.autotune")
    autotuner: Any = found
    if autotuner.early_config_prune or autotuner.perf_model:
        raise ExchangeError(
            f"{reference} prunes its configs by its arguments, so that its entries cannot be told before"
        )
    if any(config.pre_hook for config in autotuner.configs):
        raise ExchangeError(f"{reference} has configs with a pre_hook, for which Triton keeps no entries")
    return autotuner


def _entry(autotuner: Any, winner: Winner, dtypes: Sequence[str]) -> tuple[str, str]:
    """Return the path of a winner's entry within the cache, and its text, as the installed Triton writes them."""
    who = f"winner {winner.id} of {winner.task.tunable}"
    workload = winner.task.workload
    if missing := [name for name in autotuner.keys if name not in workload]:
        raise ExchangeError(f"{who} has no field {missing[0]!r} of the tuning key in its workload, {dict(workload)}")
    if winner.config not in [config_of(config) for config in autotuner.configs]:
        raise ExchangeError(f"{who} has a config that is not one of the autotuner's: {dict(winner.config)}")
    if not winner.evidence.config_seconds > 0:
        raise ExchangeError(f"nobody has told how long {who} takes, and an entry has the time")
    key: tuple[Scalar, ...] = (*(workload[name] for name in autotuner.keys), *dtypes)
    [config] = triton_configs([winner.config])
    autotuner.configs_timings = {config: _quantiles(winner)}
    with tempfile.TemporaryDirectory(prefix="tuner-triton-") as folder, _target(winner.task.device, folder):
        autotuner.check_disk_cache(key, autotuner.configs, lambda: None)
        files = list(Path(folder).rglob(f"*{_SUFFIX}"))
        if len(files) != 1:
            raise ExchangeError(f"Triton kept no entry for {who}; its version keeps them in another way")
        return str(files[0].relative_to(folder)), files[0].read_text(encoding="utf-8")


def _quantiles(winner: Winner) -> list[float]:
    """Return the winner's times in milliseconds, as Triton's benchmark tells them; one where no more is known."""
    samples = winner.evidence.samples.get("seconds", ())
    if len(samples) < 2:
        return [winner.evidence.config_seconds / _SECONDS_PER_MILLISECOND]
    cuts = statistics.quantiles(samples, n=10, method="inclusive")
    return [cuts[round(10 * quantile) - 1] / _SECONDS_PER_MILLISECOND for quantile in _QUANTILES]


@contextmanager
def _target(device: Device, cache: str) -> Iterator[None]:
    """Let Triton see `device` as its target, and `cache` as its cache; only this process, one at a time."""
    try:
        triton = importlib.import_module("triton")
        compiler = importlib.import_module("triton.backends.compiler")
    except ImportError as error:
        raise MissingDependencyError("Triton is not installed; pip install 'rltuner[triton]'") from error
    arch: int | str = device.arch if device.kind == "hip" else int(device.arch.removeprefix("sm_") or 0)
    config = triton.runtime.driver
    before = config._active
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = cache
        config.set_active(_StandIn(compiler.GPUTarget(device.kind, arch, limits_of(device).warp_threads)))
        try:
            yield
        finally:
            config._active = before


class _StandIn:
    """What Triton asks of a driver to name an entry: the target."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def get_current_target(self) -> Any:
        return self._target

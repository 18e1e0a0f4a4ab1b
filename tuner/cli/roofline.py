"""Peaks and rooflines for commands: measure a device once, and say of each result where it stands below its roofs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.campaign import Campaign
from tuner.cli.output import bytes_text
from tuner.db import Store
from tuner.errors import TunerError
from tuner.gpus import data_sheet_peaks, known_gpu
from tuner.peaks import measure_peaks
from tuner.result import Result
from tuner.roofline import Roofline, roofline
from tuner.tunable import load
from tuner.types import Peaks, Task, Work, is_cold

__all__ = ["ensure_peaks", "peaks_rows", "roofline_json", "rooflines_of", "work_of"]


def ensure_peaks(campaign: Campaign, say: Callable[[str], None]) -> None:
    """Measure the peaks of a campaign's devices that the store has none of; failing that is one line, and no error.

    Of a GPU in the table, its data sheet tells them until `tuner devices --measure` does. Only for tunables that are
    built: what nothing is compiled for is no program whose speed a roof would bound.
    """
    tasks = [task for task in campaign.tasks if _is_built(task) and known_gpu(task.device) is None]
    devices = {task.device.fingerprint: task.device for task in tasks}
    for device in devices.values():
        if campaign.store.peaks(device) is None:
            say(f"measuring the peaks of {device.name}, once for this store; it takes a few seconds")
            try:
                campaign.store.keep_peaks(device, measure_peaks(campaign.runner, device))
            except TunerError as error:
                say(f"no roofline: {error}")


def rooflines_of(store: Store, results: Sequence[Result]) -> dict[str, Roofline]:
    """Return where results stand, by task key; those of unknown peaks, times or kernels are left out."""
    found = {result.task.key: _roofline(store, result) for result in results}
    return {key: one for key, one in found.items() if one is not None}


def work_of(task: Task) -> Work | None:
    """Return what one call of a stored task has to do; None where its kernel is gone, or does not say."""
    try:
        return load(task.tunable).work(task.workload)
    except Exception:
        # Whoever wrote the kernel may count its work wrong; that must not hide how it was tuned.
        return None


def roofline_json(rooflines: Mapping[str, Roofline], task: Task) -> dict[str, Any] | None:
    """Return the roofline of a task as plain data, None where there is none."""
    found = rooflines.get(task.key)
    return found.to_json() if found else None


def peaks_rows(peaks: Peaks) -> list[list[str]]:
    """Return peaks as rows of a name and a text."""
    rows = [
        [
            f"{level.name} bandwidth",
            f"{level.bytes_per_second / 1e9:.3g} GB/s ({level.pattern} of {bytes_text(level.working_set_bytes)})",
        ]
        for level in peaks.levels
    ]
    arithmetic = [["arithmetic", f"{peaks.flops_per_second / 1e9:.3g} GFLOP/s (float32)"]]
    arithmetic += [
        [f"products of {dtype}", f"{rate / 1e12:.4g} TFLOP/s"] for dtype, rate in peaks.dtype_flops_per_second.items()
    ]
    return [*arithmetic, *rows, ["measured", f"{peaks.measured_at}, load {peaks.load:.2f}"]]


def _is_built(task: Task) -> bool:
    tunable = load(task.tunable)
    return tunable.build_key(tunable.default(task.workload, task.device), task.workload, task.device) is not None


def _roofline(store: Store, result: Result) -> Roofline | None:
    task = result.task
    # The time of the config that the result says to use.
    seconds = result.best_seconds if result.promoted or result.interrupted else result.default_seconds
    dtype = str(task.workload.get("dtype", "fp32"))
    measured = store.peaks(task.device)
    peaks = measured.of(dtype) if measured else data_sheet_peaks(task.device, dtype)
    work = work_of(task)
    if peaks is None or not seconds or work is None or not (work.flops > 0 and work.bytes > 0):
        return None
    return roofline(work, seconds, peaks, cold=is_cold(task.workload))

"""What the steps of a run share: where results go, how long they may take, and how artifacts are made and found."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
import platform
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuner.devices import available_cores, detect
from tuner.errors import TunerError
from tuner.kernels.gpu import GpuKernel
from tuner.runners import LocalRunner
from tuner.runners.cache import ArtifactCache
from tuner.tunable import load, make_task, resolve
from tuner.types import Artifact, Config, Device, Scalar, Task, Workload

__all__ = ["Run", "kernel_of", "median_text", "table"]

_PACKAGES = ("torch", "triton", "cuda-bindings", "nvidia-cuda-nvrtc", "numpy", "optuna")


@dataclass
class Run:
    """One run of all steps.

    Attributes:
        out: Folder of the JSON files.
        seconds: How long the run may take in all.
        seed: Of everything random.
        quick: Whether figures do not matter.
        tasks: Which of the campaigns are run.
        cache: Folder of artifacts.
        prior: What a run on another model of GPU wrote, where there is one.
        started: When it began.
    """

    out: Path
    seconds: float
    seed: int = 0
    quick: bool = False
    tasks: slice = field(default_factory=lambda: slice(None))
    cache: Path = Path("build/gpu-cache")
    prior: Path | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self.started)

    def runner(self, builders: int | None = None) -> LocalRunner:
        """Return a new runner; the caller closes it."""
        return LocalRunner(builders=builders or max(1, len(available_cores()) - 1), cache=self.cache)

    def task(self, kernel: str, workload: Mapping[str, Scalar]) -> Task:
        """Return the task of tuning `kernel` for `workload` on this GPU."""
        device = detect("cuda")
        reference = resolve(kernel, "cuda")
        tunable = load(reference)
        return make_task(reference, tunable, tunable.workload(workload), device)

    def artifact(self, kernel: GpuKernel, config: Config, workload: Workload, device: Device) -> Artifact:
        """Return the artifact of a config, from the cache if it is there."""
        found = ArtifactCache(self.cache).get(kernel.build_key(config, workload, device))
        return found or kernel.build(config, workload, device)

    def step(self, name: str, work: Callable[[Run], dict[str, Any]], needs_seconds: float) -> bool:
        """Do a step if there is time for it, and write what it found; a failure is written too.

        Returns:
            Whether it was done, without a failure.
        """
        print(f"\n== {name} ({self.left:.0f} s left)", flush=True)
        if self.left < needs_seconds:
            print(f"left out: it takes {needs_seconds:.0f} s", flush=True)
            return False
        started = time.monotonic()
        try:
            found, error = work(self), ""
        except Exception as failure:
            traceback.print_exc()
            found, error = {}, f"{type(failure).__name__}: {failure}"
        self.keep(name, {**found, "seconds": time.monotonic() - started, "error": error})
        print(f"-- {name}: {time.monotonic() - started:.1f} s{f', FAILED: {error}' if error else ''}", flush=True)
        return not error

    def keep(self, name: str, found: dict[str, Any]) -> None:
        """Write what a step has found so far."""
        head = {
            "step": name,
            "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.seed,
            "quick": self.quick,
            "python": platform.python_version(),
            "versions": _versions(),
            "machine": _machine(),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded({**head, **found}), indent=1, default=str)
        (self.out / f"{name}.json").write_text(text + "\n")


def kernel_of(reference: str) -> GpuKernel:
    """Return a GPU kernel."""
    kernel = load(resolve(reference, "cuda"))
    assert isinstance(kernel, GpuKernel), reference
    return kernel


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table."""
    texts = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), flush=True)


def median_text(seconds: float) -> str:
    """Return a time in microseconds."""
    return f"{1e6 * seconds:.2f}"


@functools.cache
def _machine() -> dict[str, Any]:
    try:
        device = detect("cuda")
    except TunerError:
        return {"gpu": None, "cores": len(available_cores())}
    found = {"gpu": device.name, "arch": device.arch, "memory_bytes": device.memory_bytes}
    return {**found, "environment": dict(device.environment), "cores": len(available_cores())}


def _rounded(value: Any) -> Any:
    """Return plain data with floats to six digits: what was measured is not known better."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found

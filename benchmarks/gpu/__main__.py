"""Runs all steps on this machine's GPU within a time, and writes what each found into a folder.

    python -m benchmarks.gpu --out DIR                        # all, within 570 seconds
    python -m benchmarks.gpu --out DIR --steps first,correctness --quick
    python -m benchmarks.gpu --out DIR --steps campaigns --tasks 6:12
    python -m benchmarks.gpu --out DIR --steps transfer --prior benchmarks/results/gpu_h200

It needs torch, Triton, cuda-bindings, NVRTC, numpy and platformdirs, Python 3.11 or newer, and this repository on the
path with its `rltuner.egg-info` (which tells what kernels there are); nvidia-ml-py is used where it is, and SciPy with
threadpoolctl, without which the search is random.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.campaigns import campaigns
from benchmarks.gpu.correctness import correctness
from benchmarks.gpu.decorator import decorator
from benchmarks.gpu.engine import engine
from benchmarks.gpu.first import first_checks
from benchmarks.gpu.noise import noise
from benchmarks.gpu.peaks import peaks
from benchmarks.gpu.recordings import recordings
from benchmarks.gpu.step import Run
from benchmarks.gpu.throughput import throughput
from benchmarks.gpu.transfer import transfer
from benchmarks.gpu.vllm import vllm

# By name: what it does, and for how many seconds it asks at least.
STEPS: dict[str, tuple[Callable[[Run], dict[str, Any]], float]] = {
    "first": (first_checks, 20),
    "correctness": (correctness, 30),
    "peaks": (peaks, 30),
    "decorator": (decorator, 30),
    "noise": (noise, 30),
    "throughput": (throughput, 60),
    "vllm": (vllm, 60),
    "transfer": (transfer, 60),
    "engine": (engine, 150),
    "campaigns": (campaigns, 60),
    "recordings": (recordings, 60),
}
_NEEDS_PRIOR = ("transfer",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the steps; ends with status 1 where one failed or was left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the JSON files")
    parser.add_argument("--steps", help="which, in which order; default all that can be done")
    parser.add_argument("--prior", type=Path, help="for transfer: folder of results of another model of GPU")
    parser.add_argument("--seconds", type=float, default=570.0, help="for all of them; default %(default)s")
    parser.add_argument("--tasks", default=":", help="which campaigns or recorded kernels, FIRST:LAST; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a smoke run, whose figures mean nothing")
    options = parser.parse_args(arguments)
    names = options.steps.split(",") if options.steps else [n for n in STEPS if options.prior or n not in _NEEDS_PRIOR]
    if unknown := [name for name in names if name not in STEPS]:
        parser.error(f"unknown step {unknown[0]!r}; known: {', '.join(STEPS)}")
    first, _, last = options.tasks.partition(":")
    tasks = slice(int(first or 0), int(last) if last else None)
    run = Run(options.out.resolve(), options.seconds, options.seed, options.quick, tasks, prior=options.prior)
    done = [run.step(name, *STEPS[name]) for name in names]
    if not all(done):
        raise SystemExit(1)


if __name__ == "__main__":
    main()

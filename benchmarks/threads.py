"""Measure what a second core gains: each kernel's default with two threads against the same with one.

    python -m benchmarks.threads --json figures.json

A pair is one call with one thread and one with two in the same process, in alternating order; the figures are the
median ratio of all pairs and its quartiles. The process has to have the machine to itself: where something else runs on
one of the cores, both threads wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.report import Report, Table, options_of, parser_of
from tuner.devices import detect
from tuner.runners.process import ENVIRONMENT
from tuner.tunable import load
from tuner.types import Build, Config, Sampling

# Calls of a tenth of a millisecond and more.
WORKLOADS: Mapping[str, str] = {
    "add_rmsnorm": "llama3-8b-prefill",
    "decode_attention": "llama3-8b-decode-4k",
    "flash_prefill": "gpt2-prefill-512",
    "int8_gemv": "llama3-8b-decode",
    "layernorm": "gpt2-prefill",
    "sgemm": "square-512-bias-gelu",
    "skinny_gemm": "llama3-8b-decode-batch8",
    "softmax": "llama3-8b-scores-decode-4k",
    "swiglu": "llama3-8b-prefill",
    "transpose": "square-2048",
}
SCHEDULES = ("static", "dynamic")


@dataclass(frozen=True)
class Figures:
    """What was measured of one kernel.

    Attributes:
        one_seconds: Median time of a call with one thread.
        ratios: For each schedule, the time of one thread over that of two in each pair.
    """

    kernel: str
    workload: str
    one_seconds: float
    ratios: Mapping[str, Sequence[float]]


def measured(name: str, seed: int, rounds: int) -> Figures:
    """Return the figures of one kernel."""
    kernel, device = load(f"cpp:{name}"), detect("cpu:2")
    workload = kernel.workloads[WORKLOADS[name]]
    default = kernel.default(workload, device)
    one = Config({**default, "THREADS": 1, "SCHEDULE": "static"})
    ratios = {}
    for schedule in SCHEDULES:
        configs = (one, Config({**default, "SCHEDULE": schedule}))
        builds = [Build(config, kernel.build(config, workload, device)) for config in configs]
        reference, other = kernel.measure(builds, workload, Sampling(seed, rounds))
        if wrong := reference.error or other.error:
            raise SystemExit(f"{name}: {wrong}")
        pairs = zip(other.samples["reference_seconds"], other.samples["seconds"], strict=True)
        ratios[schedule] = [seconds / two_seconds for seconds, two_seconds in pairs]
    return Figures(name, WORKLOADS[name], float(np.median(reference.samples["seconds"])), ratios)


def row(figures: Figures) -> list[str]:
    """Return a kernel's row of the table."""
    cells = [figures.kernel, figures.workload, f"{1e3 * figures.one_seconds:.3f}"]
    for schedule in SCHEDULES:
        low, middle, high = np.quantile(figures.ratios[schedule], (0.25, 0.5, 0.75))
        cells.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
    return cells


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=100, help="pairs of each kernel (default %(default)s)")
    parser.add_argument("--kernels", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="default: all")
    options = options_of(parser, arguments, {"rounds": 3, "kernels": ["softmax"]})
    report = Report("threads", options, arguments)
    # Threads wait as they do in a worker.
    os.environ.update(ENVIRONMENT)
    every = [measured(name, options.seed, options.rounds) for name in options.kernels]
    columns = ["kernel", "workload", "one thread, ms", *(f"two, {schedule}" for schedule in SCHEDULES)]
    report.finish([asdict(figures) for figures in every], [Table("threads", columns, [row(one) for one in every])])


if __name__ == "__main__":
    main()

"""Time what serving code waits for: lookups, launches through the decorator, imports and opening a snapshot.

    python -m benchmarks.lookup --json figures.json

- a hit, alone and with four threads that ask while a fifth replaces the table all the time: median and 99.9 %, each
  call timed by itself, and the mean of a loop, in which no clock is read;
- a launch through `tuner.autotune` and through `triton.autotune`, both with a winner that is known, the launch itself
  replaced by a function that does nothing: what each adds to a call of that function, in turns;
- `import tuner` over an interpreter that imports nothing, in processes of their own, in turns; modules that are not of
  the standard library are named;
- opening a snapshot of 100,000 winners in a process of its own, in seconds and in MiB over what the process had before;
- the nearest of 10,000 workloads of one kernel, the first time and again; with constraints that are plain functions,
  and with a tunable that constructs its search space for each workload;
- memory after a million distinct workloads that are not found.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from triton.runtime.autotuner import Autotuner

import tuner
from benchmarks.report import Report, Table, options_of, parser_of
from tuner.db import MemoryStore
from tuner.gpus import target_device
from tuner.lookup import Guard, Lookup, Proof, Rules, Source, snapshot_of, write_snapshot
from tuner.lookup.loaded import guard_of
from tuner.lookup.table import Table as Answers
from tuner.types import Config, Scalar, State, Workload

DEVICE = target_device("cuda:90")
KERNEL = "triton:matmul"
ROWS = [1 << power for power in range(14)]
# N and K of layers of models from 1 to 70 billion weights.
LAYERS = [
    (n, k)
    for n in (1024, 2048, 2560, 3072, 4096, 5120, 6144, 8192, 10240, 11008, 14336, 28672)
    for k in (1024, 2048, 4096, 5120, 8192, 14336)
]
TARGETS = {
    "hit, median, us": 1.0,
    "hit with 4 readers and a writer, 99.9 %, us": 20.0,
    "decorator / triton.autotune": 0.5,
    "import tuner, ms": 30.0,
    "open 100,000 winners, s": 0.5,
    "open 100,000 winners, MiB": 100.0,
    "nearest of 10,000, first, us": 50.0,
    "a million distinct misses, MiB": 64.0,
}


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes:
        name: What; those of `TARGETS` have one.
        value: In the unit that the name ends with.
        detail: What else was seen, in the same unit unless said otherwise.
    """

    name: str
    value: float
    detail: dict[str, Any]


def proofs(count: int, kernels: int, seed: int) -> Iterator[Proof]:
    """Yield winners of distinct workloads, as many of each kernel."""
    rng = random.Random(seed)
    default = Config(BLOCK_M=64, BLOCK_N=64, BLOCK_K=64, num_warps=4, num_stages=3)
    for kernel in range(kernels):
        name = KERNEL if kernels == 1 else f"triton:kernel_{kernel}"
        seen: set[tuple[int, int, int]] = set()
        while len(seen) < count // kernels:
            n, k = rng.choice(LAYERS)
            rows = rng.choice(ROWS) + rng.randrange(16) * rng.randrange(16)
            if (rows, n, k) in seen:
                continue
            seen.add((rows, n, k))
            yield Proof(
                id=kernel * count + len(seen),
                campaign=f"{rng.randrange(1 << 16):08x}",
                kernel=name,
                version="0123456789abcdef",
                workload=Workload(M=rows, N=n, K=k, dtype="bf16"),
                device=DEVICE,
                config=Config(
                    BLOCK_M=rng.choice((16, 32, 64, 128)),
                    BLOCK_N=rng.choice((64, 128, 256)),
                    BLOCK_K=rng.choice((32, 64)),
                    num_warps=rng.choice((4, 8)),
                    num_stages=rng.choice((2, 3, 4)),
                ),
                default=default,
                speedup=1 + rng.random(),
                interval=(1 + rng.random() / 10, 2.1),
                confidence=0.99,
                rounds=150,
                measured_at=f"2026-01-01T{rng.randrange(24):02d}:{rng.randrange(60):02d}:00+00:00",
                state=State.PROMOTED,
            )


def nanoseconds(call: Callable[[], Any], count: int) -> list[int]:
    """Return how long each of many calls took, sorted, without what reading the clock takes."""
    clock = time.perf_counter_ns
    samples = [0] * count
    for at in range(count):
        start = clock()
        call()
        samples[at] = clock() - start
    empty = sorted(-(clock() - clock()) for _ in range(2000))[1000]
    return sorted(sample - empty for sample in samples)


def share(samples: Sequence[float], part: float) -> float:
    """Return the sample below which `part` of the sorted samples lie."""
    return samples[min(len(samples) - 1, int(part * len(samples)))]


def hits(path: Path, other: Path, calls: int) -> list[Figure]:
    """Time hits alone, then with other readers and a writer."""
    lookup = Lookup.open(path, device=DEVICE)
    workload = dict(next(iter(lookup.table.snapshot.groups)).workload(3))
    rows, n, k = workload["M"], workload["N"], workload["K"]

    def ask() -> None:
        lookup.best(KERNEL, M=rows, N=n, K=k, dtype="bf16")

    ask()
    alone = nanoseconds(ask, calls)
    start = time.perf_counter_ns()
    for _ in range(calls):
        lookup.best(KERNEL, M=rows, N=n, K=k, dtype="bf16")
    mean = (time.perf_counter_ns() - start) / calls
    stop, together, refreshed = threading.Event(), [[0]] * 4, 0

    def read(at: int) -> None:
        together[at] = nanoseconds(ask, calls)

    def write() -> None:
        nonlocal refreshed
        texts = [path.read_bytes(), other.read_bytes()]
        while not stop.wait(0.05):
            path.with_suffix(".new").write_bytes(texts[(refreshed + 1) % 2])
            path.with_suffix(".new").replace(path)
            refreshed += lookup.reload()

    writer = threading.Thread(target=write)
    readers = [threading.Thread(target=read, args=(at,)) for at in range(4)]
    for thread in (writer, *readers):
        thread.start()
    for thread in readers:
        thread.join()
    stop.set()
    writer.join()
    assert lookup.metrics().answers[Source.EXACT] >= 4 * calls
    every = sorted(sample for samples in together for sample in samples)
    parts = {"median": 0.5, "99 %": 0.99, "99.9 %": 0.999, "99.99 %": 0.9999, "most": 1.0}
    return [
        Figure(
            "hit, median, us",
            alone[len(alone) // 2] / 1e3,
            {name: share(alone, part) / 1e3 for name, part in parts.items()},
        ),
        Figure("hit, mean of a loop, us", mean / 1e3, {}),
        Figure(
            "hit with 4 readers and a writer, 99.9 %, us",
            share(every, 0.999) / 1e3,
            {**{name: share(every, part) / 1e3 for name, part in parts.items()}, "tables (count)": refreshed},
        ),
    ]


class Stub:
    """A `triton.jit` function whose launch does nothing."""

    arg_names = ("a_ptr", "b_ptr", "c_ptr", "M", "N", "K", "stride_a", "stride_b", "stride_c", "BLOCK_M", "BLOCK_N")
    __name__ = "matmul"

    def __init__(self) -> None:
        def matmul(
            a_ptr: Any, b_ptr: Any, c_ptr: Any, M: int, N: int, K: int, stride_a: int, stride_b: int, stride_c: int,
            BLOCK_M: int = 0, BLOCK_N: int = 0,
        ) -> None: ...  # fmt: skip

        self.fn = matmul

    def run(self, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        """Launch nothing."""

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *args, **kwargs: self.run(grid=grid, warmup=False, *args, **kwargs)  # noqa: B026 - as Triton has it


def launches(calls: int, rounds: int) -> list[Figure]:
    """Time launches of nothing: without a tuner, by triton.autotune, and by tuner.autotune."""
    configs = [triton.Config({"BLOCK_M": m, "BLOCK_N": n}, num_warps=4) for m in (32, 64, 128) for n in (64, 128)]
    a, b, c = (torch.zeros(4, dtype=torch.bfloat16) for _ in range(3))
    bare, stub = Stub(), Stub()
    theirs = Autotuner(stub, stub.arg_names, configs, ["M", "N", "K"], None, None)
    theirs.cache[(16, 4096, 4096, *["torch.bfloat16"] * 3)] = configs[3]
    fields = dict.fromkeys(("a_ptr.dtype", "b_ptr.dtype", "c_ptr.dtype"), "bf16")
    config = Config(BLOCK_M=64, BLOCK_N=128, num_warps=4, num_stages=3)
    [one] = proofs(1, 1, 0)
    kernel = f"{Stub.__module__}:Stub.__init__.<locals>.matmul"
    workload = Workload(**fields, M=16, N=4096, K=4096)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "winners.json"
        write_snapshot(path, snapshot_of([replace(one, kernel=kernel, workload=workload, config=config)]))
        ours = tuner.autotune(configs, key=["M", "N", "K"], store=path, device=DEVICE)(stub)
        ours.prepare()
    arguments = (a, b, c, 16, 4096, 4096, 4096, 4096, 4096)
    assert ours.choice(*arguments).source.is_hit

    def bare_launch() -> None:
        bare[(8,)](*arguments, BLOCK_M=64, BLOCK_N=128, num_warps=4, num_stages=3)

    def their_launch() -> None:
        theirs[(8,)](*arguments)

    def our_launch() -> None:
        ours[(8,)](*arguments)

    ways = {"bare": bare_launch, "triton.autotune": their_launch, "tuner.autotune": our_launch}
    means: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, launch in ways.items():
            start = time.perf_counter_ns()
            for _ in range(calls):
                launch()
            means[name].append((time.perf_counter_ns() - start) / calls / 1e3)
    middle = {name: statistics.median(values) for name, values in means.items()}
    added = {name: middle[name] - middle["bare"] for name in ("triton.autotune", "tuner.autotune")}
    return [
        Figure(
            "decorator / triton.autotune",
            added["tuner.autotune"] / added["triton.autotune"],
            {"added, us": added, "launch, us": middle},
        )
    ]


def imports(rounds: int) -> list[Figure]:
    """Time `import tuner` and a bare interpreter, in turns."""
    seconds: dict[str, list[float]] = {"pass": [], "import tuner": [], "from tuner.lookup import Lookup": []}
    for _ in range(rounds):
        for code, samples in seconds.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            samples.append(time.perf_counter() - start)
    middle = {code: 1e3 * statistics.median(samples) for code, samples in seconds.items()}
    bare = middle.pop("pass")
    code = "import sys; before = set(sys.modules); import tuner; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    others = sorted(roots - sys.stdlib_module_names - {"tuner"})
    return [
        Figure("import tuner, ms", middle["import tuner"] - bare, {"interpreter": bare, "others (names)": others}),
        Figure("from tuner.lookup import Lookup, ms", middle["from tuner.lookup import Lookup"] - bare, {}),
    ]


OPENING = """
import json, sys, time
from tuner.lookup import Lookup
from tuner.types import Device
device = Device.from_json(json.loads(sys.argv[2]))
def resident(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
before = resident("VmRSS")
start = time.perf_counter()
lookup = Lookup.open(sys.argv[1], device=device)
seconds = time.perf_counter() - start
kept, peak = resident("VmRSS") - before, resident("VmHWM") - before
print(json.dumps([seconds, kept, peak, len(lookup), "numpy" in sys.modules]))
"""


def opening(path: Path, count: int, rounds: int) -> list[Figure]:
    """Open a snapshot in processes of their own."""
    runs = []
    for _ in range(rounds):
        words = [sys.executable, "-c", OPENING, str(path), json.dumps(DEVICE.to_json())]
        runs.append(json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout))
    assert all(run[3] == count and not run[4] for run in runs)
    seconds = statistics.median(run[0] for run in runs)
    detail = {"winners (count)": count, "file, MiB": path.stat().st_size / 2**20}
    return [
        Figure("open 100,000 winners, s", seconds, {**detail, "runs": [run[0] for run in runs]}),
        Figure(
            "open 100,000 winners, MiB",
            statistics.median(run[2] for run in runs),
            {"at its highest": [run[2] for run in runs], "kept": [run[1] for run in runs]},
        ),
    ]


def nearest(count: int, asks: int, seed: int) -> list[Figure]:
    """Time lookups of workloads that are not among the winners of a kernel, each for the first time and again."""
    rng = random.Random(seed + 1)
    plain = list(proofs(count, 1, seed))
    # A tunable fills in what its workloads have beside these.
    loaded = guard_of(KERNEL, DEVICE)
    space = loaded.tunable.search_space(Workload({**plain[0].workload, "epilogue": "none"}), DEVICE)
    configs = space.sample(np.random.default_rng(seed), 50)
    whole = [
        replace(proof, workload=Workload({**proof.workload, "epilogue": "none"}), config=rng.choice(configs))
        for proof in plain
    ]

    def fits(config: Config, workload: Workload) -> bool:
        return config.integer("BLOCK_M") <= max(16, 2 * workload.integer("M"))

    rules: Guard = Rules({"BLOCK_M": 64}, fits)
    figures = []
    for name, guard, known in (("", rules, plain), (", tunable", loaded, whole)):
        answers = Answers(snapshot_of(known), DEVICE, {KERNEL: guard})
        times: list[int] = []
        sources: dict[str, int] = {}
        gc.collect()
        for _ in range(asks):
            n, k = rng.choice(LAYERS)
            rows = min(10000, int(2 ** rng.uniform(0, 13.3)))
            fields: dict[str, Scalar] = {"M": rows, "N": n + 64 * rng.randrange(3), "K": k, "dtype": "bf16"}
            start = time.perf_counter_ns()
            choice = answers.find(KERNEL, fields)
            times.append(time.perf_counter_ns() - start)
            sources[choice.source.value] = sources.get(choice.source.value, 0) + 1
        times.sort()
        detail = {"99 %": share(times, 0.99) / 1e3, "most": times[-1] / 1e3, "sources (count)": sources}
        figures.append(Figure(f"nearest of 10,000{name}, first, us", times[len(times) // 2] / 1e3, detail))
    lookup = Lookup.open(MemoryStore(), device=DEVICE, kernels={KERNEL: rules})
    again = nanoseconds(lambda: lookup.best(KERNEL, M=17, N=4096, K=4096, dtype="bf16"), 20 * asks)
    figures.append(Figure("a miss again, median, us", again[len(again) // 2] / 1e3, {}))
    return figures


MISSING = """
import json, sys, time
from tuner.lookup import Lookup, Rules, snapshot_of, write_snapshot
from tuner.types import Device
device = Device.from_json(json.loads(sys.argv[2]))
lookup = Lookup.open(sys.argv[1], device=device, kernels={"k": Rules({"BLOCK": 64})}, misses=sys.argv[3] or None,
    flush_seconds=0.5)
def resident(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
before = resident("VmRSS")
start = time.perf_counter()
for number in range(int(sys.argv[4])):
    lookup.best("k", M=number, N=4096, K=number % 7, dtype="bf16")
seconds = time.perf_counter() - start
metrics = lookup.metrics()
peak = resident("VmHWM") - before
print(json.dumps([peak, 1e6 * seconds / int(sys.argv[4]), metrics.misses]))
"""


def missing(folder: Path, count: int) -> list[Figure]:
    """Ask for a stream of distinct workloads, with nowhere to hand misses on to, and with a file."""
    path = folder / "empty.json"
    write_snapshot(path, snapshot_of([]))
    found = {}
    for name, sink in (("kept", ""), ("handed on", str(folder / "misses.jsonl"))):
        words = [sys.executable, "-c", MISSING, str(path), json.dumps(DEVICE.to_json()), sink, str(count)]
        peak, each, misses = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert misses == count
        found[name] = {"MiB": peak, "us each": each}
    most = max(one["MiB"] for one in found.values())
    return [Figure("a million distinct misses, MiB", most, {**found, "misses (count)": count})]


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, measure, print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--calls", type=int, default=1_000_000, help="lookups of each thread (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="repetitions of what is compared (default %(default)s)")
    parser.add_argument("--winners", type=int, default=100_000, help="in the large snapshot (default %(default)s)")
    parser.add_argument("--misses", type=int, default=1_000_000, help="distinct workloads (default %(default)s)")
    quick = {"calls": 2000, "rounds": 2, "winners": 2000, "misses": 20_000}
    options = options_of(parser, arguments, quick)
    report = Report("lookup", options, arguments)
    near = options.winners // 10
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, one, other = folder / "large.json", folder / "one.json", folder / "other.json"
        write_snapshot(large, snapshot_of(proofs(options.winners, 20, options.seed)))
        few = list(proofs(1000, 1, options.seed))
        write_snapshot(one, snapshot_of(few))
        write_snapshot(other, snapshot_of([*few[:900], *proofs(100, 2, options.seed)]))
        figures += hits(one, other, options.calls)
        figures += launches(max(100, options.calls // 50), options.rounds)
        figures += imports(options.rounds)
        figures += opening(large, options.winners, options.rounds)
        figures += nearest(near, max(100, options.calls // 200), options.seed)
        figures += missing(folder, options.misses)
    rows = [[one.name, f"{one.value:.3g}", _target(one)] for one in figures]
    report.finish([asdict(figure) for figure in figures], [Table("lookup", ["what", "measured", "target"], rows)])


def _target(figure: Figure) -> str:
    return f"below {TARGETS[figure.name]:g}" if figure.name in TARGETS else ""


if __name__ == "__main__":
    main()

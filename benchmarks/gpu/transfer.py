"""What trials on another model of GPU are worth here: searches with them as a prior, and without, side by side.

    python -m benchmarks.gpu --out DIR --steps transfer --prior benchmarks/results/gpu_h200

The prior is what a run of the step `campaigns` on the other model wrote. Every search has one trial in flight, so that
its agent knows all that it asked for, and all searches run at once, so that builders are busy.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.campaigns import agent_here
from benchmarks.gpu.step import Run, kernel_of, table
from tuner.agents import Agent, Source, create_agent
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.gpus import GPUS
from tuner.objective import Objective
from tuner.runners import Runner
from tuner.tunable import load
from tuner.types import Config, Device, Measurement, Sampling, Status, Task, Trial, Workload

__all__ = ["sources_of", "transfer"]

_TASKS = (
    ("triton:matmul", "llama3-8b-out-prefill-4k"),
    ("triton:matmul", "llama3-8b-down-decode-64"),
    ("triton:fused_moe", "qwen3-30b-a3b-up-128"),
    ("triton:paged_attention", "llama3-8b-decode-32-4k"),
    ("cuda:sgemm", "square-4096"),
)
_SEEDS = 3
_TRIALS = 40
# How much slower than the best that anyone saw here still counts as found.
_NEAR = 1.05
_ROUNDS = 60
_PRECISION = 0.01
# What is left of the run's time for what it has to write.
_ENDING_SECONDS = 15.0


@dataclass
class _Search:
    """One search: its agent, and how good its best config was after each trial."""

    kernel: str
    workload: str
    prior: bool
    seed: int
    task: Task
    agent: Agent
    trials: int
    asked: int = 0
    scores: list[float] = field(default_factory=list)

    def next(self) -> Config | None:
        """Return the config to measure next: first the default, then what the agent asks for."""
        if self.asked == self.trials:
            return None
        self.asked += 1
        if self.asked == 1:
            return load(self.task.tunable).default(self.task.workload, self.task.device)
        return next(iter(self.agent.ask(1)), None)


def transfer(run: Run) -> dict[str, Any]:
    """Return after how many trials searches came near the best of all of them, with and without a prior.

    Raises:
        TunerError: the run has no prior, or it is of this model of GPU.
    """
    if run.prior is None:
        raise TunerError("there is no prior: give --prior the results of a run on another model of GPU")
    device = detect("cuda")
    sources = sources_of(run.prior, device)
    searches = [
        _search(run, kernel, name, sources if prior else [], seed)
        for kernel, name in _TASKS
        if any(_same(source.task, kernel, name) for source in sources)
        for seed in range(1 if run.quick else _SEEDS)
        for prior in (False, True)
    ]
    runner = run.runner()
    try:
        _run(run, runner, searches)
    finally:
        runner.close()
    rows = _rows(searches)
    table(
        ["kernel", "workload", "without", "with", "best ratio"],
        [[one["kernel"], one["workload"], one["without"], one["with"], f"{one['best']:.3f}"] for one in rows],
    )
    return {"prior_gpu": sources[0].task.device.name if sources else None, "near": _NEAR, "tasks": rows}


def sources_of(path: Path, device: Device) -> list[Source]:
    """Return what a run of `campaigns` on another model found, as sources for agents on `device`.

    Raises:
        TunerError: it is of the same model, or of one that the table of GPUs does not have.
    """
    found = json.loads((path / "campaigns.json" if path.is_dir() else path).read_text())
    name = found["machine"]["gpu"]
    if name == device.name:
        raise TunerError(f"the prior is of a {name}, which is this model; give one of another")
    known = [gpu for gpu in GPUS.values() if gpu.name == name]
    if not known:
        raise TunerError(f"the prior is of {name!r}, which is not in the table of GPUs")
    return [
        Source(
            Task(task["kernel"], "recorded", Workload(task["fields"]), known[0].device()),
            tuple(_trial(number, one) for number, one in enumerate(task["history"])),
        )
        for task in found["tasks"]
        if "history" in task
    ]


def _trial(number: int, told: Mapping[str, Any]) -> Trial:
    """Return a trial again, of what was kept of it: its medians."""
    status = Status(told["status"])
    samples = {}
    if "seconds" in told:
        samples["seconds"] = (float(told["seconds"]),)
        if "ratio" in told:
            samples["reference_seconds"] = (float(told["seconds"]) / float(told["ratio"]),)
    error = "" if status is Status.CORRECT else "as recorded"
    return Trial(Config(told["config"]), Measurement(status, samples, error=error), number=number)


def _same(task: Task, kernel: str, name: str) -> bool:
    return task.tunable == kernel and task.workload == kernel_of(kernel).workload(kernel_of(kernel).workloads[name])


def _search(run: Run, kernel: str, name: str, sources: Sequence[Source], seed: int) -> _Search:
    task = run.task(kernel, kernel_of(kernel).workloads[name])
    space = kernel_of(kernel).search_space(task.workload, task.device)
    # As in a campaign, the task itself comes first, on the other model.
    of_kernel = [source for source in sources if source.task.tunable == kernel]
    of_kernel.sort(key=lambda source: source.task.workload != task.workload)
    agent = create_agent(agent_here(), space, Objective(), seed=run.seed + seed, sources=of_kernel)
    return _Search(kernel, name, bool(sources), seed, task, agent, 6 if run.quick else _TRIALS)


def _run(run: Run, runner: Runner, searches: Sequence[_Search]) -> None:
    """Go on with all searches until each is at its end, or the time is."""
    flying: dict[Future[Measurement], tuple[_Search, Config]] = {}

    def submit(search: _Search) -> None:
        config = search.next()
        if config is not None:
            sampling = Sampling(run.seed, _ROUNDS, precision=_PRECISION)
            flying[runner.submit(search.task, config, sampling)] = (search, config)

    for search in searches:
        submit(search)
    while flying and run.left > _ENDING_SECONDS:
        done, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
        for future in done:
            search, config = flying.pop(future)
            trial = Trial(config, future.result(), number=len(search.scores))
            search.scores.append(search.agent.objective.score(trial))
            search.agent.tell([trial])
            submit(search)


def _rows(searches: Sequence[_Search]) -> list[dict[str, Any]]:
    rows = []
    for kernel, name in dict.fromkeys((search.kernel, search.workload) for search in searches):
        ours = [search for search in searches if (search.kernel, search.workload) == (kernel, name)]
        best = min((score for search in ours for score in search.scores), default=float("inf"))
        arms = {
            what: [_reached(search.scores, best) for search in ours if search.prior is prior]
            for what, prior in (("without", False), ("with", True))
        }
        rows.append(
            {
                "kernel": kernel,
                "workload": name,
                "best": best,
                **{what: _median(counts, _TRIALS) for what, counts in arms.items()},
                "reached": arms,
                "scores": {f"{'with' if one.prior else 'without'}, seed {one.seed}": one.scores for one in ours},
            }
        )
    return rows


def _reached(scores: Sequence[float], best: float) -> int | None:
    """Return after how many trials one was near the best; None if none was."""
    return next((number + 1 for number, score in enumerate(scores) if score <= best * _NEAR), None)


def _median(counts: Sequence[int | None], most: int) -> str:
    """Return the median; searches that never came near count as longer than all."""
    if not counts:
        return "-"
    middle = statistics.median(most + 1 if count is None else count for count in counts)
    return f"> {most}" if middle > most else f"{middle:g}"

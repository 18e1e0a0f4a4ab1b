"""Measures all configs of a task, or some at random, into a file that `tuner replay` and Kernel Tuner read."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tuner.db.kernel_tuner import read_recording, write_cache_file
from tuner.errors import StoreError, TunerError
from tuner.runners import Recorder, Runner
from tuner.tunable import load
from tuner.types import Config, Status, Task, Trial

__all__ = ["Recording", "RecordingProgress"]

_WAKE_SECONDS = 0.25
_SAVE_SECONDS = 10.0
# Writing the file takes at most so much of the time.
_SAVE_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class RecordingProgress:
    """Where a recording is.

    Attributes:
        recorded: Configs in the file, those of earlier runs included.
        resumed: How many of them an earlier run had measured.
        total: Configs that there will be.
        failures: How many failed, by status.
    """

    recorded: int
    resumed: int
    total: int
    failures: Mapping[Status, int]


class Recording:
    """Records a task: the default first, then the others in an order drawn by the seed.

    The order is random so that a recording that is stopped is a sample of the space, and so that what slows the machine
    for a while does not fall on neighbours. What is measured is in the file within seconds. A file that holds some of
    the same task already is gone on with.

    Args:
        task: What is measured.
        path: The file; compressed where its name ends in `.gz`.
        runner: What measures; the caller closes it.
        limit: Most configs; all of the space by default.
        seed: Seed of the order and of all inputs.
        watch: Called several times a second.

    Raises:
        StoreError: the file holds something else.
        SpaceError: the space is too large to be recorded whole; give a limit.

    Example:
        >>> import tempfile
        >>> from tuner.campaign import task_of
        >>> from tuner.db.kernel_tuner import read_cache_file
        >>> from tuner.runners import LocalRunner
        >>> task = task_of("tuner.testing.toys:PARABOLA", {"N": 3})
        >>> runner = LocalRunner()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "parabola.json"
        ...     progress = Recording(task, path, runner=runner, limit=5).run()
        ...     recorded = read_cache_file(path)
        >>> runner.close()
        >>> progress.recorded, len(recorded.measurements), recorded.task == task
        (5, 5, True)
    """

    def __init__(
        self,
        task: Task,
        path: Path,
        *,
        runner: Runner,
        limit: int | None = None,
        seed: int = 0,
        watch: Callable[[RecordingProgress], None] = lambda _: None,
    ) -> None:
        if limit is not None and limit < 1:
            raise TunerError(f"limit={limit} is not positive; give 1 or more, or none to record the whole space")
        tunable = load(task.tunable)
        self.task = task
        self.path = path
        self.trials: list[Trial] = []
        if path.exists():
            former, self.trials = read_recording(path)
            _require_same(task, former, path)
        elif not path.parent.is_dir():
            raise StoreError(f"cannot write {path}: there is no folder {path.parent}")
        self._resumed = len(self.trials)
        self._space = tunable.search_space(task.workload, task.device)
        self._default = tunable.default(task.workload, task.device)
        size = self._space.size
        self._total = max(size if limit is None else min(limit, size), self._resumed)
        self._seed = seed
        self._runner = runner
        self._watch = watch
        self._failures: Counter[Status] = Counter()
        for trial in self.trials:
            self._count(trial)
        self._stopping = threading.Event()
        self._saved = self._resumed
        self._save_at = 0.0

    @property
    def progress(self) -> RecordingProgress:
        """Where it is."""
        return RecordingProgress(len(self.trials), self._resumed, self._total, dict(self._failures))

    def stop(self) -> None:
        """Ask it to finish what is being measured, keep it, and end; from any thread."""
        self._stopping.set()

    def run(self) -> RecordingProgress:
        """Measure what is missing, and return where it ended.

        Raises:
            StoreError: the file cannot be written.
        """
        recorder = Recorder(self._runner, self.task, campaign="", seed=self._seed, trials=self.trials)
        missing = self._missing()
        in_flight: set[Future[Trial]] = set()
        try:
            while True:
                room = 0 if self._stopping.is_set() else self._runner.capacity - len(in_flight)
                in_flight.update(recorder.submit(config) for config in itertools.islice(missing, max(room, 0)))
                if not in_flight:
                    break
                done, in_flight = wait(in_flight, timeout=_WAKE_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._keep(future.result())
                if time.monotonic() > self._save_at:
                    self._save()
                self._watch(self.progress)
        finally:
            # Also where the machinery broke, or at a second Ctrl-C.
            self._save()
        return self.progress

    def _missing(self) -> Iterator[Config]:
        """Yield what is to be measured, the default first."""
        known = {trial.config for trial in self.trials}
        drawn = self._space.sample(np.random.default_rng(self._seed), self._total)
        left = (config for config in dict.fromkeys([self._default, *drawn]) if config not in known)
        return itertools.islice(left, self._total - len(known))

    def _keep(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._count(trial)

    def _count(self, trial: Trial) -> None:
        if trial.measurement.status is not Status.CORRECT:
            self._failures[trial.measurement.status] += 1

    def _save(self) -> None:
        """Write what is new."""
        if len(self.trials) == self._saved:
            return
        began = time.monotonic()
        trials = sorted(self.trials, key=lambda trial: trial.number)
        write_cache_file(self.path, self.task, self._space, trials)
        self._saved = len(trials)
        now = time.monotonic()
        self._save_at = now + max(_SAVE_SECONDS, (now - began) / _SAVE_SHARE)


def _require_same(task: Task, former: Task, path: Path) -> None:
    """Refuse to add to a file what does not compare with it.

    Raises:
        StoreError: it says what differs.
    """
    now, before = task.device, former.device
    tools = {name for name in now.environment if now.environment[name] != before.environment.get(name)}
    differing = {
        f"kernel {former.tunable}": task.tunable != former.tunable,
        f"workload {former.workload.json}": task.workload != former.workload,
        f"device {before.name!r} ({before.kind}, {before.count})": now.fingerprint != before.fingerprint,
        "version of the kernel": task.version != former.version,
        f"{', '.join(sorted(tools))}": bool(tools),
    }
    if found := [what for what, differs in differing.items() if differs]:
        raise StoreError(
            f"{path} was recorded with another {found[0]}; what is measured now does not compare with it: "
            "choose another file"
        )

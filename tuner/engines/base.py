"""What every inference engine promises, and how an engine becomes a tunable."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tuner.errors import TunerError
from tuner.objective import Statistic
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.tunable import Placeable
from tuner.types import Artifact, Build, Config, Device, Measurement, Sampling, Scalar, Status, Work, Workload

__all__ = [
    "Applied",
    "Engine",
    "EngineError",
    "EngineLateError",
    "EngineParameter",
    "EngineTunable",
    "QualityError",
    "Route",
    "Window",
]

Samples = Mapping[str, tuple[float, ...]]

# However slow a config is, a trial has so many windows.
_FEWEST_WINDOWS = 2


class EngineError(TunerError):
    """An engine did not start, or failed under its traffic; the message is the engine's own reason."""


class EngineLateError(EngineError):
    """An engine did not start, or did not answer, before its deadline."""


class QualityError(EngineError):
    """An engine answers, but not well enough: a precision that hurts cannot win."""


class Applied(StrEnum):
    """What it took to run under a config: a start, nothing, or a change of the running engine."""

    START = "start"
    REUSE = "reuse"
    RECONFIGURE = "reconfigure"


class Route(StrEnum):
    """How a parameter reaches an engine."""

    FLAG = "flag"
    VARIABLE = "variable"
    CALL = "call"


@dataclass(frozen=True, slots=True)
class EngineParameter:
    """A parameter of a search space, and how it is applied to the engine.

    Attributes:
        parameter: Its name, values and default.
        route: A word of the command line, a variable of the environment, or a call while the engine runs.
        target: What the engine calls it, such as `--max-num-seqs` or `OMP_NUM_THREADS`.
        restarts: Whether an engine that runs has to be started anew to change it.
        first: Values that are worth a trial of their own before anything is known, the most promising first.
    """

    parameter: Parameter
    route: Route
    target: str
    restarts: bool = True
    first: tuple[Scalar, ...] = ()

    @property
    def name(self) -> str:
        """What configs call it."""
        return self.parameter.name


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of traffic.

    Attributes:
        seed: Draws the requests; the same seed is the same traffic.
        held_out: Whether the traffic is that of the finals, which no trial saw: the other part of a trace, for one.
    """

    seed: int
    held_out: bool = False


class Engine(ABC):
    """An engine for one workload, which runs under one config at a time; not safe to share between threads.

    Whatever `apply` started ends with `close`, and with the process that called it.
    """

    @abstractmethod
    def apply(self, config: Config) -> Applied:
        """Run under `config` from now on, and say what that took.

        Raises:
            EngineError: it does not start or does not take the change; nothing is left running.
            EngineLateError: it did not start before its deadline.
        """

    def check(self, seed: int) -> Mapping[str, Scalar]:
        """Return how good the answers are, by metric, on inputs drawn by `seed`; nothing unless an engine says more.

        Raises:
            QualityError: not good enough; the message says by how much.
        """
        return {}

    @abstractmethod
    def measure(self, window: Window) -> Samples:
        """Return the samples of one window of traffic by metric.

        A metric of the whole window has one sample, such as `goodput_per_second`; one of requests has any number, such
        as `ttft_seconds`. `seconds` is always there, once: the window's time for each request or item served.

        Raises:
            EngineError: it ended or failed as a whole; single requests that failed are samples of their own.
        """

    def resources(self) -> Mapping[str, Scalar]:
        """Return what else is known of the engine since it was applied, such as `memory_bytes`."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """End all that was started; a second call does nothing."""


@dataclass(slots=True)
class _Seat:
    """A live engine, and what is known of how it got where it is."""

    engine: Engine
    config: Config | None = None
    applied: Applied = Applied.START
    apply_seconds: float = 0.0
    quality: dict[tuple[int, bool], Mapping[str, Scalar]] = field(default_factory=dict)


class EngineTunable(ABC):
    """An engine as a tunable: its parameters are a search space, and a window of traffic is a sample.

    Engines stay alive between measurements, in the process that measures: the reference is rarely started anew, and a
    config that differs only in what changes at run time shares the start of the one before. Windows of the reference
    and of its challenger alternate, so that sample `i` of a whole-window metric belongs to the same round, and
    `reference_<metric>` stands beside it. The interval of a final is one over windows, not over starts of the engine.

    Attributes:
        name: What it is called: `engine:<name>` is its reference.
        device_kinds: The kinds of device that it runs on.
        trial_windows: Most windows of each config in a trial, which ends earlier when its time for sampling is over.
        final_windows: Windows of each config in the finals.
        alive: How many engines may run at once, at least one; with one, reference and challenger take turns by restart.
        longest_seconds: When a measurement of one config, starts included, is given up.
    """

    name: str
    device_kinds: tuple[str, ...] = ("cpu",)
    trial_windows: int = 2
    final_windows: int = 12
    alive: int = 2
    longest_seconds: float = 600.0

    def __init__(self) -> None:
        self._seats: list[_Seat] = []
        self._workload: Workload | None = None

    @property
    @abstractmethod
    def version(self) -> str:
        """Hash of everything of ours that decides results."""

    @property
    @abstractmethod
    def workloads(self) -> Mapping[str, Workload]:
        """Named workloads."""

    @abstractmethod
    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload; see `Tunable.workload`."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return the versions of the engine and of what it runs on."""

    @abstractmethod
    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """Return what can be set, and how."""

    def left_out(self, workload: Workload, device: Device) -> Sequence[str]:
        """Return what cannot be set here, and why, a line each; nothing unless an engine says more."""
        return ()

    def constraints(self, workload: Workload, device: Device) -> Iterable[Constraint]:
        """Return what configs have to keep; nothing unless an engine says more."""
        return ()

    @abstractmethod
    def create(self, workload: Workload) -> Engine:
        """Return an engine for `workload` that has not been started."""

    def fits(self, config: Config, workload: Workload) -> bool:
        """Return whether an engine under `config` has room beside those that run; yes unless an engine knows better."""
        return True

    def search_space(self, workload: Workload, device: Device) -> SearchSpace:
        """Return the valid configs for `workload` on `device`."""
        parameters = [one.parameter for one in self.parameters(workload, device)]
        return SearchSpace(parameters, list(self.constraints(workload, device)))

    def default(self, workload: Workload, device: Device) -> Config:
        """Return what the engine does where nobody says otherwise."""
        return self.search_space(workload, device).default

    def first_tries(self, workload: Workload, device: Device) -> list[Config]:
        """Return changes of the default, one parameter at a time: each parameter's first value, then the second ones.

        What does not restart the engine comes first and together: those trials share a start.
        """
        every = self.parameters(workload, device)
        at_run_time = [(one, value) for one in every if not one.restarts for value in one.first]
        turns = itertools.zip_longest(*([(one, value) for value in one.first] for one in every if one.restarts))
        default = self.default(workload, device)
        tries = [*at_run_time, *(pair for turn in turns for pair in turn if pair is not None)]
        return [
            Config({**default, one.name: value})
            for one, value in tries
            if value in one.parameter.values and value != default.get(one.name)
        ]

    def build_key(self, config: Config, workload: Workload, device: Device) -> str | None:
        """Nothing is built."""
        return None

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact | None:
        """Nothing is built."""
        return None

    def work(self, workload: Workload) -> Work:
        """Return no work: an engine has no roofline unless it says more."""
        return Work(0, 0)

    def edges(self, workload: Workload) -> Sequence[Workload]:
        """No workload is harder than another, unless an engine says more."""
        return ()

    def measure(self, builds: Sequence[Build], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Serve windows of traffic with each config, every challenger in turns with the first, its reference."""
        if workload != self._workload:
            self.close()
            self._workload = workload
        reference, *challengers = [build.config for build in builds]
        if not challengers:
            return [self._race([reference], workload, sampling)[0]]
        results: list[Measurement] = []
        first: Measurement | None = None
        for challenger in challengers:
            mine, other = self._race([reference, challenger], workload, sampling)
            first = first or mine
            if mine.status is not Status.CORRECT:
                # Nobody can be compared with it.
                return [
                    mine,
                    *(Measurement(mine.status, error=f"the reference config failed: {mine.error}"),) * len(challengers),
                ]
            results.append(other)
        assert first is not None, "there is a challenger"
        return [first, *results]

    def close(self) -> None:
        """End all engines."""
        while self._seats:
            self._seats.pop().engine.close()

    def _race(self, configs: Sequence[Config], workload: Workload, sampling: Sampling) -> list[Measurement]:
        """Return the measurements of one config, or of two whose windows alternate."""
        rounds = min(sampling.rounds, self.final_windows if sampling.thorough else self.trial_windows)
        found: list[list[Samples]] = [[] for _ in configs]
        failures: dict[int, Measurement] = {}
        resources: list[dict[str, Scalar]] = [{} for _ in configs]
        started = time.perf_counter()
        served_seconds = 0.0
        for number in range(rounds):
            if number >= _FEWEST_WINDOWS and not sampling.thorough and served_seconds > sampling.seconds:
                # A trial only says what is worth proving. The number of a final's windows is settled beforehand.
                break
            order = range(len(configs)) if number % 2 == 0 else reversed(range(len(configs)))
            for i in order:
                if failures:
                    break
                seat = None
                try:
                    seat = self._seated(configs[i], workload, keep=configs, lent=sampling.devices)
                    if not found[i]:
                        resources[i] |= self._checked(seat, sampling)
                    window = Window((sampling.seed + number) % 2**63, sampling.thorough)
                    began = time.perf_counter()
                    found[i].append(seat.engine.measure(window))
                    served_seconds += time.perf_counter() - began
                    resources[i] |= seat.engine.resources()
                except EngineError as error:
                    failures[i] = Measurement(_status(error), resources=resources[i], error=str(error))
                    if not isinstance(error, QualityError) and seat is not None:
                        self._vacate(seat)
        seconds = time.perf_counter() - started
        paired = bool(len(configs) == 2 and not failures)
        measurements = []
        for i in range(len(configs)):
            if i in failures:
                measurements.append(failures[i])
                continue
            samples = joined(found[i], found[0] if paired and i else ())
            # Windows stand where a kernel has loads: their number is settled beforehand, and each counts once.
            samples["load"] = tuple(float(number) for number in range(len(found[i])))
            measurements.append(Measurement(Status.CORRECT, samples, 0.0, seconds, resources[i]))
        return measurements

    def _checked(self, seat: _Seat, sampling: Sampling) -> dict[str, Scalar]:
        """Return how the config was applied, and how good its answers are."""
        key = (sampling.seed, sampling.thorough)
        told: dict[str, Scalar] = {"applied": seat.applied.value, "apply_seconds": seat.apply_seconds}
        if key not in seat.quality:
            seat.quality = {key: seat.engine.check(sampling.seed)}
        return {**told, **seat.quality[key]}

    def _seated(self, config: Config, workload: Workload, keep: Sequence[Config], lent: int = 0) -> _Seat:
        """Return a live engine under `config`, at the least cost; those under `keep` stay where there is room.

        Without room, reference and challenger take turns by restart, as with one engine.
        """
        for seat in self._seats:
            if seat.config == config:
                return seat
        while True:
            full = len(self._seats) >= self.alive
            taken = next((one for one in self._seats if one.config not in keep), self._seats[0]) if full else None
            others = [one for one in self._seats if one is not taken]
            enough = taken is not None or self.fits(config, workload)
            if not others or (enough and self._has_devices(config, workload, others, lent)):
                break
            self._vacate(next((one for one in others if one.config not in keep), others[0]))
        if taken is None:
            taken = _Seat(self.create(workload))
            self._seats.append(taken)
        seat = taken
        seat.config, seat.quality = None, {}
        started = time.perf_counter()
        try:
            seat.applied = seat.engine.apply(config)
        except EngineError:
            self._vacate(seat)
            raise
        seat.config, seat.apply_seconds = config, time.perf_counter() - started
        return seat

    def _has_devices(self, config: Config, workload: Workload, others: Sequence[_Seat], lent: int) -> bool:
        """Return whether a server under `config` and those of `others` need no more devices than were lent."""
        if not lent or not isinstance(self, Placeable):
            return True
        used = sum(self.devices(one.config, workload) for one in others if one.config is not None)
        return used + self.devices(config, workload) <= lent

    def _vacate(self, seat: _Seat) -> None:
        """End an engine that failed."""
        seat.engine.close()
        self._seats.remove(seat)


def joined(windows: Sequence[Samples], reference: Sequence[Samples] = ()) -> dict[str, tuple[float, ...]]:
    """Return the samples of several windows as one, those of whole windows beside the reference's.

    A metric that has one sample in every window belongs to the window; its `reference_<metric>` is taken where the
    reference has one in every window too. Of other metrics, which belong to requests, each window's statistics are
    metrics of the window: with `ttft_seconds` comes `ttft_seconds_p99`, so that percentiles can be compared in pairs.

    Example:
        >>> one = [{"seconds": (2.0,), "ttft_seconds": (0.1, 0.2)}, {"seconds": (3.0,), "ttft_seconds": (0.3,)}]
        >>> found = joined(one, [{"seconds": (4.0,)}, {"seconds": (5.0,)}])
        >>> found["seconds"], found["reference_seconds"], found["ttft_seconds"], found["ttft_seconds_max"]
        ((2.0, 3.0), (4.0, 5.0), (0.1, 0.2, 0.3), (0.2, 0.3))
    """
    windows, reference = _summarised(windows), _summarised(reference)
    names = list(dict.fromkeys(name for window in windows for name in window))
    samples = {name: tuple(value for window in windows for value in window.get(name, ())) for name in names}
    for name in names:
        if reference and _of_windows(name, windows) and _of_windows(name, reference):
            samples[f"reference_{name}"] = tuple(window[name][0] for window in reference)
    return samples


def _summarised(windows: Sequence[Samples]) -> list[Samples]:
    """Return the windows, each with the statistics of what it has several samples of."""
    several = {name for window in windows for name, values in window.items() if len(values) > 1}
    return [
        {
            **window,
            **{
                f"{name}_{statistic}": (statistic.of(values),)
                for name, values in window.items()
                if name in several and values
                for statistic in Statistic
            },
        }
        for window in windows
    ]


def _of_windows(name: str, windows: Sequence[Samples]) -> bool:
    return all(len(window.get(name, ())) == 1 for window in windows)


def _status(error: EngineError) -> Status:
    match error:
        case QualityError():
            return Status.CORRECTNESS
        case EngineLateError():
            return Status.TIMEOUT
        case _:
            return Status.RUNTIME

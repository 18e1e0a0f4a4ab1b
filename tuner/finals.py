"""The finals: the best of the search are re-timed against the default, and one is promoted or the default is kept.

A search's own minimum is biased, the more so the noisier the machine: the winner of many noisy comparisons won partly
by luck. So the best few are measured again, on inputs they have not seen, in a worker that measured nothing before, and
the speed-up that is reported comes from that measurement alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tuner.comparison import Comparison
from tuner.edges import checked_edges
from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.runners import Runner
from tuner.statistics import (
    fewest_groups,
    fewest_samples,
    group_medians,
    median,
    paired_interval,
    sign_test,
)
from tuner.types import Config, Evidence, Measurement, Sampling, Status, Task, Trial, digest

__all__ = ["Contest", "Finals", "Verdict", "play"]

# After so many times as many finalists were out as there are places, no others are tried.
_REJECTED = 3


@dataclass(frozen=True, slots=True)
class Finals:
    """How the finals are played.

    Attributes:
        finalists: How many of the search's best are re-timed. One plays the final alone, without a semifinal, which
            saves an engine two starts; with 0 nobody plays, and the default is kept.
        semifinal_rounds: Most pairs of each finalist; the best of them plays the final. One that is clearly slower than
            another, or than the default, drops out earlier.
        semifinal_loads: How often everything is loaded and laid out in memory anew in the semifinal.
        rounds: Most pairs of the final.
        loads: How often everything is loaded and laid out in memory anew in the final.
        precision: A tunable that takes one load only ends before its rounds when each speed-up is known to such a
            share of it, at `confidence`.
        seconds: Longest time of the final's rounds, and of the semifinal's.
        threshold: What the lower end of the speed-up's interval must clear.
        confidence: Level of that interval; at 0.99, a config that is as fast as the default is promoted in at most one
            of two hundred finals.
    """

    finalists: int = 5
    semifinal_rounds: int = 60
    semifinal_loads: int = 6
    rounds: int = 150
    loads: int = 30
    precision: float = 0.003
    seconds: float = 30.0
    threshold: float = 1.0
    confidence: float = 0.99

    def __post_init__(self) -> None:
        if not isinstance(self.finalists, int) or isinstance(self.finalists, bool) or self.finalists < 0:
            raise TunerError(f"finalists={self.finalists} is not a whole number, at least 0")
        for name in ("semifinal_rounds", "semifinal_loads", "rounds", "loads"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TunerError(f"{name}={value} is not a positive whole number")
        if not (self.seconds > 0 and self.threshold > 0 and self.precision > 0):
            raise TunerError(
                f"seconds={self.seconds}, threshold={self.threshold} and precision={self.precision} have to be positive"
            )
        if not 0 < self.confidence < 1:
            raise TunerError(f"confidence={self.confidence} is not between 0 and 1")

    def require_decidable(self) -> None:
        """Refuse rules by which nothing could ever be promoted.

        Raises:
            TunerError: the final has too few rounds or loads for an interval.
        """
        error = 1 - self.confidence
        for name, value, fewest in (
            ("rounds", self.rounds, fewest_samples(error)),
            ("loads", self.loads, fewest_groups(error)),
        ):
            if value < fewest:
                raise TunerError(f"{name}={value} show nothing at confidence={self.confidence}; give at least {fewest}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the finals ended.

    Attributes:
        config: The finalist that played the final; None where no finalist was left.
        evidence: Its comparison with the default.
        promoted: Whether the interval cleared the threshold; otherwise the default is kept.
        device_seconds: Time on the device of the semifinal and the final, checking included, edge shapes not.
        rejected: Finalists that were out, with the reason: wrong on the finals' inputs or on an edge shape, or crashed;
            or the default alone, where it is wrong on the finals' inputs, so that nobody can be compared with it.
        beside: With several objectives, how the config compares with the default in each.
    """

    config: Config | None
    evidence: Evidence | None
    promoted: bool
    device_seconds: float
    rejected: Mapping[Config, str] = field(default_factory=dict)
    beside: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Contest:
    """What the finals are about.

    Attributes:
        task: Whose configs play.
        default: The baseline.
        objective: How measurements are ranked.
        rules: How the finals are played.
        seed: The campaign's seed; the finals' inputs derive from it and are not those of any trial.
    """

    task: Task
    default: Config
    objective: Objective
    rules: Finals
    seed: int

    def sampling(self, stage: str, rounds: int, loads: int) -> Sampling:
        """Return the sampling of a stage, on inputs of its own."""
        seed = int(digest([self.seed, self.task.key, stage]), 16)
        rules = self.rules
        error = 1 - rules.confidence
        return Sampling(seed, rounds, rules.seconds, thorough=True, precision=rules.precision, error=error, loads=loads)

    def score(self, config: Config, result: Measurement) -> float:
        """Return the score of a result; infinite where it is unusable, or was not measured beside the default."""
        paired = self.objective.is_paired(result)
        return self.objective.score(Trial(config, result)) if paired else math.inf


def play(runner: Runner, contest: Contest, trials: Sequence[Trial], incumbents: Sequence[Config] = ()) -> Verdict:
    """Re-time the best of `trials` against the default and return the verdict.

    A finalist whose result is wrong on the fresh inputs, that crashes, or that breaks a limit, is out.

    Args:
        runner: What measures.
        contest: The task, its default, and the rules.
        trials: The search's trials.
        incumbents: Winners of before, which play whatever the search says of them.
    """
    rules = contest.rules
    device_seconds = 0.0
    rejected: dict[Config, str] = {}
    scores: dict[Config, float] = {}
    seeds: dict[str, int] = {}
    semifinal = contest.sampling("semifinal", rules.semifinal_rounds, rules.semifinal_loads)
    semifinal = replace(semifinal, incumbent=1 / rules.threshold)
    waiting = list(dict.fromkeys(c for c in (*incumbents, *_ranked(contest, trials)) if c != contest.default))
    places = rules.finalists + len(incumbents) if rules.finalists else 0
    # A trial is checked on some inputs, a finalist on all: in the place of one that is out, the next best plays.
    while playing := waiting[: places - len(scores)]:
        if len(rejected) >= _REJECTED * places:
            # Each costs a process of its own, and a search that was wrong so often will hardly be right below its best.
            break
        waiting = waiting[len(playing) :]
        if len(playing) == 1 and not scores and not waiting:
            # Nobody else is left: the final itself will tell.
            scores[playing[0]] = 0.0
            break
        if places == 1:
            # Likewise; where it is out there, the next best plays.
            scores = {config: float(i) for i, config in enumerate([*playing, *waiting][:_REJECTED])}
            break
        seeds["semifinal"] = semifinal.seed
        default, *results = _compare(runner, contest, playing, semifinal)
        device_seconds += results[0].measure_seconds
        if default.status is Status.CORRECTNESS:
            # Nobody can be compared with it: on all inputs, it is not even right itself.
            return Verdict(None, None, False, device_seconds, {contest.default: _reason(default)})
        for config, result in zip(playing, results, strict=True):
            score = contest.score(config, result)
            if math.isfinite(score):
                scores[config] = score
            else:
                rejected[config] = _reason(result)
    finalists = sorted(scores, key=lambda config: scores[config])

    final = contest.sampling("final", rules.rounds, rules.loads)
    for config in finalists:
        edges = checked_edges(runner, contest.task, config, final.seed)
        if edges.failure:
            rejected[config] = f"on the edge shape {edges.failure}"
            continue
        default, result = _compare(runner, contest, [config], final)
        device_seconds += result.measure_seconds
        if math.isfinite(contest.score(config, result)):
            proven = _evidence(contest, result, final)
            evidence = replace(
                proven,
                estimate=_estimate(contest, trials, config),
                seeds={**seeds, "final": final.seed, **({"edges": final.seed} if edges.shapes else {})},
                edge_shapes=edges.shapes,
            )
            return Verdict(config, evidence, evidence.interval[0] > rules.threshold, device_seconds, rejected)
        if default.status is Status.CORRECTNESS:
            return Verdict(None, None, False, device_seconds, {contest.default: _reason(default)})
        rejected[config] = _reason(result)
    return Verdict(None, None, False, device_seconds, rejected)


def _reason(result: Measurement) -> str:
    """Return why a finalist is out."""
    if result.status is Status.CORRECT:
        return "it breaks a limit, or was not timed beside the default"
    return f"{result.status.value}: {result.error}"


def _ranked(contest: Contest, trials: Sequence[Trial]) -> list[Config]:
    """Return the configs of the trials that worked, the best first."""
    scored = [(contest.objective.score(trial), trial.number, trial.config) for trial in trials]
    return [config for score, _, config in sorted(scored, key=lambda one: one[:2]) if math.isfinite(score)]


def _compare(runner: Runner, contest: Contest, configs: Sequence[Config], sampling: Sampling) -> list[Measurement]:
    """Return the default's measurement and those of `configs`, each paired with it; a crash spoils only its own."""
    default, *results = runner.compare(contest.task, [contest.default, *configs], sampling).result()
    wrong = default.status is Status.CORRECTNESS
    if len(configs) > 1 and not wrong and all(result.status is not Status.CORRECT for result in results):
        alone = [runner.compare(contest.task, [contest.default, config], sampling).result() for config in configs]
        return [default, *(result for _, result in alone)]
    return [default, *results]


def _estimate(contest: Contest, trials: Sequence[Trial], config: Config) -> float | None:
    """Return what the search said of the speed-up of `config`."""
    scores = [contest.score(trial.config, trial.measurement) for trial in trials if trial.config == config]
    return 1 / scores[0] if scores and math.isfinite(scores[0]) else None


def _evidence(contest: Contest, result: Measurement, sampling: Sampling) -> Evidence:
    """Return what the final itself says."""
    objective, rules = contest.objective, contest.rules
    seconds, reference = (result.samples.get(name) for name in ("seconds", "reference_seconds"))
    logs = objective.gains(result)
    loads = result.samples.get("load")
    if loads and len(loads) != len(logs):
        # What was joined to fewer pairs is not of single loads any more.
        loads = None
    interval = paired_interval(logs, loads, sampling.error)
    # Where a kernel lies in memory is luck that all pairs of a load share, and so each load counts once.
    independent = group_medians(logs, loads) if loads else logs
    return Evidence(
        default=contest.default,
        default_seconds=median(reference) if reference else 0.0,
        config_seconds=median(seconds) if seconds else 0.0,
        speedup=math.exp(median(independent)),
        interval=(math.exp(interval.low), math.exp(interval.high)),
        confidence=rules.confidence,
        threshold=rules.threshold,
        rounds=len(logs),
        seed=sampling.seed,
        samples=result.samples,
        resources=result.resources,
        environment=contest.task.device.environment,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        sign_p=sign_test(independent),
        source_hash=contest.task.version,
        objective={} if objective == Objective() else objective.to_json(),
        default_value=objective.value(result, reference=True),
        config_value=objective.value(result),
    )

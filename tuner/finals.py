"""The finals: the best of the search are re-timed against the default, and one is promoted or the default is kept.

A search's own minimum is biased, the more so the noisier the machine: the winner of many noisy comparisons won partly
by luck. So the best few are measured again, on inputs they have not seen, in a worker that measured nothing before, and
the speed-up that is reported comes from that measurement alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tuner.errors import TunerError
from tuner.objective import Objective
from tuner.runners import Runner
from tuner.statistics import median, paired_ratio
from tuner.types import Config, Evidence, Measurement, Sampling, Status, Task, Trial, digest

__all__ = ["Contest", "Finals", "Verdict", "play"]


@dataclass(frozen=True, slots=True)
class Finals:
    """How the finals are played.

    Attributes:
        finalists: How many of the search's best are re-timed.
        semifinal_rounds: Pairs of each finalist; the best of them plays the final.
        rounds: Pairs of the final.
        seconds: Longest time of the final's rounds, and of the semifinal's.
        threshold: What the lower end of the speed-up's interval must clear.
        confidence: Level of that interval; at 0.99, a config that is as fast as the default is promoted about once in a
            hundred times.
    """

    finalists: int = 5
    semifinal_rounds: int = 60
    rounds: int = 150
    seconds: float = 30.0
    threshold: float = 1.0
    confidence: float = 0.99

    def __post_init__(self) -> None:
        for name in ("finalists", "semifinal_rounds", "rounds"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TunerError(f"{name}={value} is not a positive whole number")
        if not self.seconds > 0 or not self.threshold > 0:
            raise TunerError(f"seconds={self.seconds} and threshold={self.threshold} have to be positive")
        if not 0 < self.confidence < 1:
            raise TunerError(f"confidence={self.confidence} is not between 0 and 1")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the finals ended.

    Attributes:
        config: The finalist that played the final; None where no finalist was left.
        evidence: Its comparison with the default.
        promoted: Whether the interval cleared the threshold; otherwise the default is kept.
        device_seconds: Time that the finals took on the device.
    """

    config: Config | None
    evidence: Evidence | None
    promoted: bool
    device_seconds: float


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

    def sampling(self, stage: str, rounds: int) -> Sampling:
        """Return the sampling of a stage, on inputs of its own."""
        seed = int(digest([self.seed, self.task.key, stage]), 16)
        return Sampling(seed, rounds, self.rules.seconds)

    def score(self, config: Config, result: Measurement) -> float:
        """Return the score of a result; infinite where it is unusable, or was not measured beside the default."""
        paired = "reference_seconds" in result.samples
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
    finalists = [*_best(contest, trials), *incumbents]
    finalists = list(dict.fromkeys(config for config in finalists if config != contest.default))
    device_seconds = 0.0
    if len(finalists) > 1:
        results = _compare(runner, contest, finalists, contest.sampling("semifinal", rules.semifinal_rounds))
        device_seconds += results[0].measure_seconds
        scores = {config: contest.score(config, result) for config, result in zip(finalists, results, strict=True)}
        finalists = sorted((c for c in finalists if math.isfinite(scores[c])), key=lambda config: scores[config])

    final = contest.sampling("final", rules.rounds)
    for config in finalists:
        (result,) = _compare(runner, contest, [config], final)
        device_seconds += result.measure_seconds
        if math.isfinite(contest.score(config, result)):
            evidence = _evidence(contest, result, final)
            return Verdict(config, evidence, evidence.interval[0] > rules.threshold, device_seconds)
    return Verdict(None, None, False, device_seconds)


def _best(contest: Contest, trials: Sequence[Trial]) -> list[Config]:
    """Return the configs of the best trials, the best first; the default is not among them."""
    scored = [(contest.objective.score(trial), trial.number, trial.config) for trial in trials]
    usable = sorted(one for one in scored if math.isfinite(one[0]) and one[2] != contest.default)
    return [config for _, _, config in usable[: contest.rules.finalists]]


def _compare(runner: Runner, contest: Contest, configs: Sequence[Config], sampling: Sampling) -> list[Measurement]:
    """Return the measurements of `configs`, each paired with the default; one that crashes spoils only its own."""
    results = runner.compare(contest.task, [contest.default, *configs], sampling).result()[1:]
    if len(configs) > 1 and all(result.status is not Status.CORRECT for result in results):
        return [runner.compare(contest.task, [contest.default, config], sampling).result()[1] for config in configs]
    return results


def _evidence(contest: Contest, result: Measurement, sampling: Sampling) -> Evidence:
    seconds, reference = result.samples["seconds"], result.samples["reference_seconds"]
    rules = contest.rules
    ratio = paired_ratio(reference, seconds, confidence=rules.confidence, seed=sampling.seed)
    return Evidence(
        default=contest.default,
        default_seconds=median(reference),
        config_seconds=median(seconds),
        speedup=ratio.value,
        interval=(ratio.low, ratio.high),
        confidence=rules.confidence,
        threshold=rules.threshold,
        rounds=len(seconds),
        seed=sampling.seed,
        samples={"seconds": seconds, "reference_seconds": reference},
        resources=result.resources,
        environment=contest.task.device.environment,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )

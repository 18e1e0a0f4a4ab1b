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

from tuner.objective import Objective
from tuner.runners import Runner
from tuner.statistics import median, paired_ratio
from tuner.types import Config, Evidence, Measurement, Sampling, Status, Task, Trial, digest

__all__ = ["Finals", "Verdict", "play"]


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


def play(
    runner: Runner, task: Task, default: Config, trials: Sequence[Trial], objective: Objective, rules: Finals, seed: int
) -> Verdict:
    """Re-time the best of `trials` against `default` and return the verdict.

    A finalist whose result is wrong on the fresh inputs, or that crashes, is out.

    Args:
        runner: What measures.
        task: Whose configs.
        default: The baseline.
        trials: The search's trials.
        objective: How trials are ranked.
        rules: How the finals are played.
        seed: The campaign's seed; the finals' inputs derive from it and are not those of any trial.
    """
    scored = [(objective.score(trial), trial.number, trial.config) for trial in trials if trial.config != default]
    finalists = [config for score, _, config in sorted(scored, key=lambda one: one[:2]) if math.isfinite(score)]
    finalists = finalists[: rules.finalists]
    device_seconds = 0.0

    semifinal = Sampling(_seed(seed, task, "semifinal"), rules.semifinal_rounds, rules.seconds)
    if len(finalists) > 1:
        results = _compare(runner, task, default, finalists, semifinal)
        device_seconds += results[0].measure_seconds
        scores = {
            config: objective.score(Trial(config, result)) for config, result in zip(finalists, results, strict=True)
        }
        finalists = sorted((c for c in finalists if math.isfinite(scores[c])), key=lambda config: scores[config])

    final = Sampling(_seed(seed, task, "final"), rules.rounds, rules.seconds)
    for config in finalists:
        (result,) = _compare(runner, task, default, [config], final)
        device_seconds += result.measure_seconds
        if result.status is Status.CORRECT:
            evidence = _evidence(task, default, result, final, rules)
            return Verdict(config, evidence, evidence.interval[0] > rules.threshold, device_seconds)
    return Verdict(None, None, False, device_seconds)


def _compare(
    runner: Runner, task: Task, default: Config, configs: Sequence[Config], sampling: Sampling
) -> list[Measurement]:
    """Return the measurements of `configs`, each paired with the default; one that crashes spoils only its own."""
    results = runner.compare(task, [default, *configs], sampling).result()[1:]
    if len(configs) > 1 and all(result.status in (Status.RUNTIME, Status.TIMEOUT) for result in results):
        return [runner.compare(task, [default, config], sampling).result()[1] for config in configs]
    return results


def _evidence(task: Task, default: Config, result: Measurement, sampling: Sampling, rules: Finals) -> Evidence:
    seconds, reference = result.samples["seconds"], result.samples["reference_seconds"]
    ratio = paired_ratio(reference, seconds, confidence=rules.confidence, seed=sampling.seed)
    return Evidence(
        default=default,
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
        environment=task.device.environment,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _seed(seed: int, task: Task, stage: str) -> int:
    return int(digest([seed, task.key, stage]), 16)

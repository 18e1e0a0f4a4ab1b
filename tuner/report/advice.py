"""What a report suggests to do next: each rule reads the data and says one thing, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

from tuner.report.condition import discarded_share
from tuner.report.data import Importance, Outcome, Report, TaskReport
from tuner.statistics import fewest_samples
from tuner.text import scalar_text

__all__ = ["advice"]

_FEWEST_TRIALS = 20
_LATE = 0.8
_MANY_FAILED = 0.2
_MUCH_DISCARDED = 0.1
_MATTERS = 0.05
_FEWEST_VALUES = 3


def advice(report: Report, task: TaskReport, importance: Importance) -> list[str]:
    """Return what to do next, the most urgent first."""
    return [
        *_state(report, task),
        *_proof(report, task),
        *_search(task),
        *_edges(task, importance),
        *_failed(task),
        *_machine(task),
    ]


def _state(report: Report, task: TaskReport) -> Iterator[str]:
    campaign = report.campaign.id
    if task.outcome in (Outcome.INTERRUPTED, Outcome.WAITING):
        yield f"Nothing is proven yet. Go on with: tuner campaign resume {campaign}"
    elif task.outcome is Outcome.RUNNING:
        yield (
            "Nothing is proven yet. If no process runs this campaign any more, go on with: "
            f"tuner campaign resume {campaign}"
        )
    elif task.outcome is Outcome.UNDECIDED:
        confidence = report.plan.finals.confidence
        yield (
            f"A final of fewer than {fewest_samples(1 - confidence)} pairs shows nothing at {confidence:g} confidence: "
            "give the finals more rounds, or more seconds."
        )
    elif task.outcome is Outcome.UNPROVEN and len(task.usable) <= 1:
        yield "No config but the default worked: see the failures below before searching on."
    elif task.outcome is Outcome.UNPROVEN:
        yield "No finalist was left on the fresh inputs of the finals: see which of the configs are unstable."


def _proof(report: Report, task: TaskReport) -> Iterator[str]:
    final = task.final
    if final is None:
        return
    low, high = final.interval
    if task.outcome is Outcome.DEFAULT_KEPT and low < 1 < high:
        wide = max(high - 1, 1 - low)
        yield (
            f"The final cannot tell the two apart: a difference below about {wide:.1%} is lost in the noise. For one "
            "that small, play more final rounds on a quieter machine; else the default is as good."
        )
    elif task.outcome is Outcome.DEFAULT_KEPT and low > 1:
        yield (
            f"Faster than the default, but not beyond the threshold of {report.plan.finals.threshold:g} that was "
            "asked for."
        )
    if final.estimate and final.estimate > high:
        yield (
            f"The search thought {final.estimate:.2f}x: the best of many noisy measurements is partly luck (the "
            "winner's curse). Only the final's number counts."
        )


def _search(task: TaskReport) -> Iterator[str]:
    total = len(task.trials)
    if task.best is None or total < _FEWEST_TRIALS or task.outcome is Outcome.RUNNING:
        return
    number = task.best.number
    if number + 1 > _LATE * total:
        yield (
            f"The best came late, at trial {number} of {total}: the search was still improving. Give it more trials."
        )


def _edges(task: TaskReport, importance: Importance) -> Iterator[str]:
    config = task.config
    if config is None or importance.caution:
        return
    matters = {share.parameter for share in importance.shares if share.value >= _MATTERS}
    for parameter in task.parameters:
        if parameter.name not in matters or not parameter.numeric or len(parameter.values) < _FEWEST_VALUES:
            continue
        value = config.get(parameter.name)
        if value not in (parameter.values[0], parameter.values[-1]):
            continue
        side = "largest" if value == parameter.values[-1] else "smallest"
        yield (
            f"{parameter.name}={scalar_text(value)} matters and is the {side} value tried: "
            "see whether the space can be widened there."
        )


def _failed(task: TaskReport) -> Iterator[str]:
    failed = sum(failure.count for failure in task.failures)
    if not failed or failed < _MANY_FAILED * len(task.trials):
        return
    suspects = [f"{name}={scalar_text(value)}" for one in task.failures for name, value, _ in one.suspects[:1]]
    where = f" Every trial with {' or '.join(suspects)} failed the same way." if suspects else ""
    yield (
        f"{failed} of {len(task.trials)} trials failed.{where} A constraint that leaves such configs out gives their "
        "time to others."
    )


def _machine(task: TaskReport) -> Iterator[str]:
    share = discarded_share([trial for trial, _ in task.usable])
    if share is not None and share > _MUCH_DISCARDED:
        yield f"{share:.0%} of the rounds were disturbed and repeated: a quieter machine would finish sooner."

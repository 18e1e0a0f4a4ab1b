"""A task's result in a sentence: what a reader wants to know first."""

from __future__ import annotations

from tuner.objective import Direction
from tuner.report.data import Final, Outcome, TaskReport
from tuner.text import value_text

__all__ = ["details", "headline", "interval_text", "speedup_text"]

_WIDE = 0.02


def headline(report: TaskReport) -> str:
    """Return the verdict on a task in one sentence."""
    final = report.final
    match report.outcome:
        case Outcome.PROMOTED if final:
            return f"{interval_text(final)} over the default, proven{_pairs(final)}"
        case Outcome.DEFAULT_KEPT if final:
            return f"The default is kept: the best found is {interval_text(final)}{_pairs(final)}"
        case Outcome.UNDECIDED:
            return "The default is kept: the final had too few pairs to tell"
        case Outcome.RUNNING:
            return f"Still running; {_so_far(report)}"
        case Outcome.WAITING:
            return "Not begun"
        case Outcome.INTERRUPTED:
            return f"Interrupted before the final; {_so_far(report)}"
    if len(report.usable) > 1:
        return "The default is kept: no finalist was left on the finals' fresh inputs"
    if report.usable:
        return "The default is kept: no other config worked"
    return "Nothing worked"


def details(report: TaskReport) -> list[str]:
    """Return the figures beside the verdict."""
    final = report.final
    facts = []
    if final:
        metric = report.objective.metric
        what = "a call" if metric == "seconds" else metric
        before, after = value_text(metric, final.default_value), value_text(metric, final.config_value)
        facts.append(f"{before} → {after} {what}")
        if final.estimate:
            facts.append(f"the search had estimated {final.estimate:.2f}x")
        if final.evidence:
            evidence = final.evidence
            facts.append(f"{evidence.confidence * 100:g} % interval, to clear {evidence.threshold:g}")
            if evidence.sign_p is not None:
                facts.append(f"sign test p = {evidence.sign_p:.1g}")
    facts.append(_trials(report))
    if report.result:
        result = report.result
        facts.append(
            f"{result.wall_seconds:.0f} s ({result.device_seconds:.0f} s on the device, "
            f"{result.build_seconds:.0f} s of builds)"
        )
    return facts


def interval_text(final: Final) -> str:
    """Return the proven speed-up with its interval, with as many digits as it deserves.

    Example:
        >>> interval_text(Final(None, None, 1.4321, (1.4012, 1.4599), 1.0, 0.7, None, None))
        '1.43x [1.40, 1.46]'
        >>> interval_text(Final(None, None, 1.0041, (1.0012, 1.0059), 1.0, 0.7, None, None))
        '1.004x [1.001, 1.006]'
    """
    low, high = final.interval
    digits = 2 if high - low > _WIDE else 3
    return f"{final.speedup:.{digits}f}x [{low:.{digits}f}, {high:.{digits}f}]"


def speedup_text(report: TaskReport, score: float) -> str:
    """Return a score as people read it: a speed-up where it is relative to the default, else the metric's value."""
    if report.paired:
        return f"{1 / score:.2f}x"
    objective = report.objective
    return value_text(objective.metric, score if objective.direction is Direction.MINIMIZE else 1 / score)


def _pairs(final: Final) -> str:
    return f" in {final.evidence.rounds} pairs" if final.evidence else " in a final"


def _so_far(report: TaskReport) -> str:
    if not report.usable:
        return f"no config has worked in {len(report.trials)} trials"
    best = min(score for _, score in report.usable)
    if report.paired:
        return f"the search's best so far is about {speedup_text(report, best)} the default, an unproven estimate"
    verb = "takes" if report.objective.metric == "seconds" else "reaches"
    return f"the search's best so far {verb} about {speedup_text(report, best)}, an unproven estimate"


def _trials(report: TaskReport) -> str:
    failed = sum(failure.count for failure in report.failures)
    return f"{len(report.trials)} trials, {failed} failed"

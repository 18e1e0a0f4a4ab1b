"""What is measured of served windows, as samples by metric; `docs/objectives.md` says what each word means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.engines.client import Answer, Served
from tuner.engines.process import Usage
from tuner.engines.traffic import Limits
from tuner.types import Scalar

__all__ = ["MeasuredWindow", "REFERENCE", "resources", "samples"]

REFERENCE = "reference_"
"""What stands before a metric of the reference, measured in the same rounds."""

# What is kept of the gaps between tokens, spread evenly over all of them: enough for a p99.
_MOST_GAPS = 2000


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """One window of one profile, with what the server used for it.

    Attributes:
        round: Which round it belongs to.
        share: The profile's share of the time.
        limits: What makes its requests good.
        served: The answers.
        used: CPU time used meanwhile, and memory at the end.
        joules: Energy used by the machine meanwhile; None where there is no counter.
    """

    round: int
    share: float
    limits: Limits
    served: Served
    used: Usage
    joules: float | None = None

    @property
    def good(self) -> int:
        """Requests that kept every limit."""
        return sum(answer.is_good(self.limits) for answer in self.served.answers)


def samples(windows: Sequence[MeasuredWindow], prefix: str = "") -> dict[str, tuple[float, ...]]:
    """Return samples by metric.

    Of each request: `ttft_seconds`, `tpot_seconds` and `e2e_seconds`, in the same order; a failed one counts with its
    time-out. `itl_seconds` are gaps between tokens. To each belongs `<metric>_window`, the round it is from. Of each
    round: rates, weighted by the profiles' shares, CPU time, tokens. `seconds` is the time of a round for each good
    request, half a request where none was good.
    """
    rounds: dict[int, list[MeasuredWindow]] = {}
    for window in windows:
        rounds.setdefault(window.round, []).append(window)
    answers = [(window.round, answer) for window in windows for answer in window.served.answers]
    gaps = [(number, gap) for number, answer in answers for gap in answer.itl_seconds]
    step = -(-len(gaps) // _MOST_GAPS) or 1
    found: dict[str, list[float]] = {}
    for metric, pairs in (
        ("ttft_seconds", [(number, answer.ttft_seconds) for number, answer in answers]),
        ("tpot_seconds", [(number, answer.tpot_seconds) for number, answer in answers]),
        ("e2e_seconds", [(number, answer.e2e_seconds) for number, answer in answers]),
        ("itl_seconds", gaps[::step]),
    ):
        found[metric] = [value for _, value in pairs]
        found[f"{metric}_window"] = [float(number) for number, _ in pairs]
    for part in rounds.values():
        for metric, value in _round(part).items():
            found.setdefault(metric, []).append(value)
    return {f"{prefix}{metric}": tuple(values) for metric, values in found.items() if values}


def resources(windows: Sequence[MeasuredWindow]) -> dict[str, Scalar]:
    """Return what is one number over all windows: the share of failed requests, and the most memory."""
    answers: list[Answer] = [answer for window in windows for answer in window.served.answers]
    failed = [answer.error for answer in answers if answer.error]
    found: dict[str, Scalar] = {"requests": len(answers)}
    if answers:
        found["error_rate"] = len(failed) / len(answers)
    if memory := max((window.used.memory_bytes for window in windows), default=0):
        found["peak_memory_bytes"] = memory
    if failed:
        found["first_error"] = failed[0]
    return found


def _round(windows: Sequence[MeasuredWindow]) -> Mapping[str, float]:
    """Return one round's metrics: rates of profiles are weighted by their shares of the time."""

    def rate(count: Mapping[int, float]) -> float:
        return sum(one.share * count[index] / one.served.seconds for index, one in enumerate(windows))

    answered = [[answer for answer in one.served.answers if not answer.error] for one in windows]
    good = rate({index: one.good for index, one in enumerate(windows)})
    tokens = sum(answer.tokens for part in answered for answer in part)
    shortest = min(one.share / one.served.seconds for one in windows)
    found = {
        "seconds": 1 / max(good, 0.5 * shortest),
        "goodput_per_second": good,
        "requests_per_second": rate({index: len(part) for index, part in enumerate(answered)}),
        "output_tokens_per_second": rate(
            {index: sum(answer.tokens for answer in part) for index, part in enumerate(answered)}
        ),
        "output_tokens": float(tokens),
        "cpu_seconds": sum(one.used.cpu_seconds for one in windows),
    }
    joules = [one.joules for one in windows if one.joules is not None]
    if len(joules) == len(windows):
        found["joules"] = sum(joules)
    return found

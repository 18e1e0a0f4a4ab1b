"""What is measured of served windows, as samples by metric; `docs/objectives.md` says what each word means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.engines.client import Answer, Served
from tuner.engines.process import Usage
from tuner.engines.traffic import Limits
from tuner.types import Scalar

__all__ = ["MeasuredWindow", "resources", "samples"]

# What is kept of the gaps between tokens, spread evenly over all of them: enough for a p99.
_MOST_GAPS = 2000


@dataclass(frozen=True, slots=True)
class MeasuredWindow:
    """One window of one profile, with what the server used for it.

    Attributes:
        share: The profile's share of the time.
        limits: What makes its requests good.
        served: The answers.
        used: CPU time used meanwhile, and memory at the end.
        joules: Energy used by the machine meanwhile; None where there is no counter.
    """

    share: float
    limits: Limits
    served: Served
    used: Usage
    joules: float | None = None

    @property
    def good(self) -> int:
        """Requests that kept every limit."""
        return sum(answer.is_good(self.limits) for answer in self.served.answers)


def samples(windows: Sequence[MeasuredWindow]) -> dict[str, tuple[float, ...]]:
    """Return the samples of one round of traffic, one window of each profile, by metric.

    Of each request: `ttft_seconds`, `tpot_seconds` and `e2e_seconds`, in the same order; a failed one counts with its
    time-out. `itl_seconds` are gaps between tokens. Of the round: rates, weighted by the profiles' shares, CPU time,
    energy, tokens. `seconds` is the time for each good request, half a request where none was good.

    Args:
        windows: One of each profile.
    """
    answers = [answer for window in windows for answer in window.served.answers]
    gaps = [gap for answer in answers for gap in answer.itl_seconds]
    step = -(-len(gaps) // _MOST_GAPS) or 1
    found: dict[str, tuple[float, ...]] = {
        "ttft_seconds": tuple(answer.ttft_seconds for answer in answers),
        "tpot_seconds": tuple(answer.tpot_seconds for answer in answers),
        "e2e_seconds": tuple(answer.e2e_seconds for answer in answers),
        "itl_seconds": tuple(gaps[::step]),
    }
    return {**found, **{metric: (value,) for metric, value in _round(windows).items()}}


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


def _round(windows: Sequence[MeasuredWindow]) -> dict[str, float]:
    """Return one round's metrics: rates of profiles are weighted by their shares of the time."""

    def rate(counts: Sequence[int]) -> float:
        return sum(one.share * count / one.served.seconds for one, count in zip(windows, counts, strict=True))

    answered = [[answer for answer in one.served.answers if not answer.error] for one in windows]
    tokens = [sum(answer.tokens for answer in part) for part in answered]
    good = rate([one.good for one in windows])
    found = {
        "seconds": 1 / max(good, 0.5 * min(one.share / one.served.seconds for one in windows)),
        "goodput_per_second": good,
        "requests_per_second": rate([len(part) for part in answered]),
        "output_tokens_per_second": rate(tokens),
        "output_tokens": float(sum(tokens)),
        "cpu_seconds": sum(one.used.cpu_seconds for one in windows),
    }
    joules = [one.joules for one in windows if one.joules is not None]
    if len(joules) == len(windows):
        found["joules"] = sum(joules)
    return found

"""The words for what is measured: short names, the metrics that they stand for, and metrics that follow from others.

`docs/objectives.md` defines each word once. Everything that measures writes its samples under these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from tuner.types import Measurement, Scalar

__all__ = ["METRICS", "Each", "Metric", "metric_named", "readable", "samples_of"]


class Each(StrEnum):
    """Of what a metric has one sample."""

    CALL = "call"
    REQUEST = "request"
    GAP = "gap between tokens"
    WINDOW = "window"
    MEASUREMENT = "measurement"


@dataclass(frozen=True, slots=True)
class Metric:
    """A word of the language of objectives.

    Attributes:
        name: Under which samples or resources are written; its unit is in it.
        each: Of what there is one sample.
        meaning: What it is, in one line.
        short: What people may write for it.
    """

    name: str
    each: Each
    meaning: str
    short: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("seconds", Each.CALL, "time of one call; of an engine, time for each good request or item"),
        Metric("ttft_seconds", Each.REQUEST, "time from sending a request to its first token", ("ttft",)),
        Metric("itl_seconds", Each.GAP, "time between one token and the next", ("itl",)),
        Metric("tpot_seconds", Each.REQUEST, "time per output token: (e2e - ttft) / (output tokens - 1)", ("tpot",)),
        Metric(
            "e2e_seconds", Each.REQUEST, "time from sending a request to its last token", ("e2e", "e2el", "latency")
        ),
        Metric(
            "goodput_per_second",
            Each.WINDOW,
            "requests finished a second that kept every limit on a request; errors and time-outs kept none",
            ("goodput",),
        ),
        Metric("requests_per_second", Each.WINDOW, "requests finished a second", ("request_throughput",)),
        Metric(
            "output_tokens_per_second",
            Each.WINDOW,
            "tokens generated a second",
            ("output_throughput", "throughput"),
        ),
        Metric("total_tokens_per_second", Each.WINDOW, "tokens of prompts and outputs a second", ("total_throughput",)),
        Metric("tokens_per_second", Each.WINDOW, "tokens that an engine without requests works through a second"),
        Metric("items_per_second", Each.WINDOW, "inputs that an engine without tokens works through a second"),
        Metric("error_rate", Each.MEASUREMENT, "share of requests that failed or timed out", ("errors",)),
        Metric("kl_logits", Each.MEASUREMENT, "KL divergence of the output from float32's, in nats", ("kl",)),
        Metric("top1_agreement", Each.MEASUREMENT, "share of outputs whose first choice is float32's", ("top1",)),
        Metric("rel_error", Each.MEASUREMENT, "largest error of an output, relative to the reference"),
        Metric("peak_memory_bytes", Each.MEASUREMENT, "most memory in use at once", ("peak_memory", "memory")),
        Metric(
            "apply_seconds",
            Each.MEASUREMENT,
            "time that a config took to be applied: a start, or a change",
            ("start",),
        ),
        Metric("cpu_seconds_per_token", Each.WINDOW, "processor time for each output token", ("cpu_per_token",)),
        Metric("joules_per_token", Each.WINDOW, "energy for each output token", ("energy_per_token",)),
        Metric(
            "cost_per_million_tokens",
            Each.WINDOW,
            "price of a million output tokens, in the currency of the price of an hour",
            ("cost",),
        ),
    )
}
"""Each word by the name of its metric."""

_SHORT = {short: metric.name for metric in METRICS.values() for short in metric.short}
_REFERENCE = "reference_"
_HOUR_SECONDS = 3600.0
# What a device's price is shared by, the first that was measured.
_TOKEN_RATES = ("output_tokens_per_second", "tokens_per_second")
# Metrics that are the quotient of two others.
_PER_TOKEN = {"cpu_seconds_per_token": "cpu_seconds", "joules_per_token": "joules"}
_TOKENS = "output_tokens"


def metric_named(word: str) -> str:
    """Return the metric that `word` stands for; a word that is none is taken for a metric's own name.

    Example:
        >>> metric_named("goodput"), metric_named("ttft"), metric_named("code_bytes")
        ('goodput_per_second', 'ttft_seconds', 'code_bytes')
    """
    return _SHORT.get(word, word)


def samples_of(
    measurement: Measurement, metric: str, *, reference: bool = False, price_per_hour: float | None = None
) -> tuple[float, ...]:
    """Return the samples of `metric`, measured or following from others; none where it is not known.

    Per token, processor time and energy follow from `cpu_seconds` or `joules` and `output_tokens` of the same windows;
    the cost from the rate of tokens, the price, and the resource `devices` (`reference_devices`), one without it.

    Args:
        measurement: Whose.
        metric: Its name.
        reference: Whether those of the reference of the same rounds are asked for.
        price_per_hour: What one device costs an hour.

    Example:
        >>> from tuner.types import Status
        >>> rates = {"output_tokens_per_second": (500.0, 1000.0)}
        >>> samples_of(Measurement(Status.CORRECT, rates), "cost_per_million_tokens", price_per_hour=3.6)
        (2.0, 1.0)
    """
    prefix = _REFERENCE if reference else ""
    samples = measurement.samples
    if own := samples.get(f"{prefix}{metric}"):
        return own
    if metric in _PER_TOKEN:
        spent, tokens = samples.get(f"{prefix}{_PER_TOKEN[metric]}", ()), samples.get(f"{prefix}{_TOKENS}", ())
        if len(spent) == len(tokens) and all(tokens):
            return tuple(one / count for one, count in zip(spent, tokens, strict=True))
    if metric == "cost_per_million_tokens" and price_per_hour is not None:
        rates = next((found for name in _TOKEN_RATES if (found := samples.get(f"{prefix}{name}"))), ())
        devices = measurement.resources.get(f"{prefix}devices", 1)
        if rates and all(rate > 0 for rate in rates) and isinstance(devices, int | float):
            return tuple(price_per_hour * devices / _HOUR_SECONDS / rate * 1e6 for rate in rates)
    return ()


def readable(measurement: Measurement, price_per_hour: float | None = None) -> list[str]:
    """Return the metrics that an objective or a limit may read: sampled ones, those that follow, numeric resources."""
    names = [name for name, samples in measurement.samples.items() if samples]
    derived = [*_PER_TOKEN, "cost_per_million_tokens"]
    followed = [name for name in derived if samples_of(measurement, name, price_per_hour=price_per_hour)]
    numbers = [name for name, value in measurement.resources.items() if _is_number(value)]
    return _unique([*names, *followed, *numbers])


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

"""How values read, in tables, on pages and on command lines."""

from __future__ import annotations

import math

from tuner.types import Config, Scalar, Workload

__all__ = ["config_text", "scalar_of", "scalar_text", "seconds_text", "value_text", "workload_text"]

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def seconds_text(seconds: float | None) -> str:
    """Return a time with three digits and the unit that fits.

    Example:
        >>> seconds_text(0.0001234), seconds_text(None)
        ('123 us', '-')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    for scale, unit in _UNITS:
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def workload_text(workload: Workload) -> str:
    """Return a workload as it is written on the command line."""
    return " ".join(f"{name}={scalar_text(value)}" for name, value in workload.items())


def config_text(config: Config) -> str:
    """Return a config in one line."""
    return " ".join(f"{name}={scalar_text(value)}" for name, value in config.items())


def scalar_text(value: Scalar) -> str:
    """Return a value as it is written on the command line.

    Example:
        >>> scalar_text(True), scalar_text(4), scalar_text("bf16")
        ('true', '4', 'bf16')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def scalar_of(text: str) -> Scalar:
    """Return the value that a text on the command line or in a URL stands for.

    Example:
        >>> scalar_of("true"), scalar_of("4"), scalar_of("1e-2"), scalar_of("bf16")
        (True, 4, 0.01, 'bf16')
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def value_text(metric: str, value: float | None) -> str:
    """Return a metric's value with the unit that its name says.

    Example:
        >>> value_text("goodput_per_second", 12.345), value_text("ttft_seconds", 0.0123), value_text("kl_logits", 1e-3)
        ('12.3 /s', '12.3 ms', '0.001')
    """
    if metric.endswith("seconds"):
        return seconds_text(value)
    if value is None or not math.isfinite(value):
        return "-"
    if metric.endswith("_bytes"):
        scale = next((one for one in (30, 20, 10) if abs(value) >= 2**one), 0)
        return f"{value / 2**scale:.3g} {({30: 'GiB', 20: 'MiB', 10: 'KiB'}).get(scale, 'bytes')}"
    return f"{value:.3g} /s" if metric.endswith("_per_second") else f"{value:.3g}"

"""How results look: tables for people, one JSON object as the last line of standard output for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuner.report.command import best_command
from tuner.result import Result
from tuner.roofline import Roofline
from tuner.schedule import LOOK_AHEAD, Reason, Stop, Turn
from tuner.text import config_text, seconds_text, value_text, workload_text
from tuner.types import Status

__all__ = [
    "Output",
    "best_command",
    "bytes_text",
    "config_text",
    "print_results",
    "print_shares",
    "reason_text",
    "roofline_text",
    "seconds_text",
    "value_text",
    "workload_text",
]

_PLAIN_WIDTH = 200


class Output:
    """Where a command writes: with `--json`, people's text goes to standard error and stays out of the way."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.console = Console(stderr=as_json, highlight=False)
        if not self.console.is_terminal:
            # A file or a pipe has no width to keep to.
            self.console.width = _PLAIN_WIDTH

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
        """Print a table."""
        if title:
            self.say(title)
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            # Compilers write brackets, which are no markup.
            table.add_row(*map(Text, row))
        self.console.print(table)

    def say(self, text: str) -> None:
        """Print a line, unmarked and unwrapped, so that commands in it can be copied."""
        self.console.print(text, markup=False, soft_wrap=True)

    def emit(self, data: Mapping[str, Any]) -> None:
        """Print `data` as one line of JSON, if JSON was asked for."""
        if self._as_json:
            print(json.dumps(data, allow_nan=False), flush=True)


def bytes_text(count: int) -> str:
    """Return a size in whole KiB, or in MiB from one on.

    Example:
        >>> bytes_text(24 << 10), bytes_text(1 << 30)
        ('24 KiB', '1024 MiB')
    """
    return f"{count / 2**20:.0f} MiB" if count >= 2**20 else f"{count / 2**10:.0f} KiB"


def _share_text(share: float) -> str:
    """Return a share in percent, with two digits where it is small.

    Example:
        >>> _share_text(0.456), _share_text(0.0123), _share_text(0.0)
        ('46%', '1.2%', '0%')
    """
    return f"{share:.0%}" if share == 0 or abs(share) >= 0.0995 else f"{share:.1%}"


def reason_text(turn: Turn) -> str:
    """Return why a task has its turn."""
    match turn.reason:
        case Reason.WARM_UP:
            return "warming up"
        case Reason.NEARBY:
            return f"a nearby workload is ahead, {_share_text(turn.expected)} may be gained"
        case Reason.GAIN:
            return f"{_share_text(turn.expected)} may be gained by {LOOK_AHEAD} more"
        case Reason.ORDER:
            return "in its order"


def _share_rows(results: Sequence[Result]) -> list[list[str]]:
    """Return how the trials of a campaign were shared out, as rows for `_SHARE_COLUMNS`."""
    total = sum(result.trials for result in results) or 1
    return [
        [
            result.task.tunable,
            workload_text(result.task.workload),
            f"{result.use:g}",
            str(result.trials),
            _share_text(result.trials / total),
            str(result.starts),
            _share_text(result.gain),
            _share_text(result.expected_gain),
            _STOPS[result.stopped] if result.stopped else "-",
        ]
        for result in results
    ]


_SHARE_COLUMNS = (
    "kernel",
    "workload",
    "use",
    "trials",
    "share",
    "from nearby",
    "gain so far",
    f"expected of {LOOK_AHEAD} more",
    "search ended because",
)

_STOPS = {
    Stop.TRIALS: "the trials were used up",
    Stop.SECONDS: "the time was over",
    Stop.PATIENCE: "too little was expected",
    Stop.SPACE: "every config was tried",
    Stop.INTERRUPTED: "it was interrupted",
    Stop.DEFAULT: "its default fails",
}


def _result_row(result: Result) -> list[str]:
    """Return a result as a row for `_RESULT_COLUMNS`."""
    if result.speedup is None:
        speedup = "interrupted before the final" if result.interrupted else "-"
    elif result.speedup_interval is None:
        speedup = "too few pairs to tell"
    else:
        low, high = result.speedup_interval
        speedup = f"{result.speedup:.3f}x [{low:.3f}, {high:.3f}]"
    verdict = "promoted" if result.promoted else ("best so far" if result.interrupted else "default kept")
    if result.default_fails:
        verdict = "its default fails"
    best = value_text(result.metric, result.best_value)
    return [
        result.task.tunable,
        workload_text(result.task.workload),
        result.metric,
        value_text(result.metric, result.default_value),
        best if result.promoted else f"({best})",
        speedup,
        verdict,
    ]


_RESULT_COLUMNS = ("kernel", "workload", "metric", "default", "winner", "speed-up", "verdict")


def print_shares(output: Output, results: Sequence[Result]) -> None:
    """Print how a campaign of several tasks shared out its trials, and why."""
    if len(results) > 1:
        output.say("")
        output.table(_SHARE_COLUMNS, _share_rows(results), title="how the trials were shared out:")


def roofline_text(roofline: Roofline) -> str:
    """Return a roofline in one line."""
    level = roofline.level
    return (
        f"{roofline.bandwidth_share:.0%} of {level.name} bandwidth ({level.bytes_per_second / 1e9:.3g} GB/s), "
        f"{roofline.flops_share:.0%} of {roofline.flops_per_second / 1e9:.3g} GFLOP/s; bound by {roofline.bound}"
    )


def print_results(
    output: Output, results: Sequence[Result], store: str | None, rooflines: Mapping[str, Roofline]
) -> None:
    """Print what people want of results: times, the proven speed-up, the config, and the command that looks it up."""
    output.table(_RESULT_COLUMNS, [_result_row(result) for result in results])
    for result in results:
        output.say("")
        output.say(f"{result.task.tunable} {workload_text(result.task.workload)}")
        failed = {status: count for status, count in result.statuses.items() if status != Status.CORRECT}
        failures = f", failed: {', '.join(f'{count} {status}' for status, count in failed.items())}" if failed else ""
        output.say(
            f"  {result.trials} trials in {result.wall_seconds:.1f} s "
            f"(device {result.device_seconds:.1f} s, builds {result.build_seconds:.1f} s){failures}"
        )
        if result.saved_device_seconds:
            output.say(f"  pruning before the device saved about {result.saved_device_seconds:.1f} s of it")
        if result.starts:
            output.say(f"  started from {result.starts} configs of nearby workloads")
        for why in result.rejected:
            output.say(f"  {'not tuned' if result.default_fails else 'out in the finals'}: {why}")
        output.say(f"  config: {config_text(result.config)}")
        if roofline := rooflines.get(result.task.key):
            output.say(f"  roofline: {roofline_text(roofline)}")
        if not result.interrupted:
            output.say(f"  look it up: {best_command(result.task, store)}")

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
from tuner.text import config_text, seconds_text, workload_text

__all__ = ["Output", "best_command", "config_text", "seconds_text", "workload_text"]

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


def result_row(result: Result) -> list[str]:
    """Return a result as a row for `RESULT_COLUMNS`."""
    if result.speedup is None or result.speedup_interval is None:
        speedup = "interrupted before the final" if result.interrupted else "-"
    else:
        low, high = result.speedup_interval
        speedup = f"{result.speedup:.3f}x [{low:.3f}, {high:.3f}]"
    verdict = "promoted" if result.promoted else ("best so far" if result.interrupted else "default kept")
    best = seconds_text(result.best_seconds)
    return [
        result.task.tunable,
        workload_text(result.task.workload),
        seconds_text(result.default_seconds),
        best if result.promoted else f"({best})",
        speedup,
        verdict,
    ]


RESULT_COLUMNS = ("kernel", "workload", "default", "winner", "speed-up", "verdict")


def print_results(output: Output, results: Sequence[Result], store: str | None) -> None:
    """Print what people want of results: times, the proven speed-up, the config, and the command that looks it up."""
    output.table(RESULT_COLUMNS, [result_row(result) for result in results])
    for result in results:
        output.say("")
        output.say(f"{result.task.tunable} {workload_text(result.task.workload)}")
        failed = {status: count for status, count in result.statuses.items() if status != "correct"}
        failures = f", failed: {', '.join(f'{count} {status}' for status, count in failed.items())}" if failed else ""
        output.say(
            f"  {result.trials} trials in {result.wall_seconds:.1f} s "
            f"(device {result.device_seconds:.1f} s, builds {result.build_seconds:.1f} s){failures}"
        )
        output.say(f"  config: {config_text(result.config)}")
        if not result.interrupted:
            output.say(f"  look it up: {best_command(result.task, store)}")

"""The command `tuner`: one module for each group of commands. Only this package reads the environment.

Commands turn words into calls of the library and results into tables; nothing is decided here.
"""

from __future__ import annotations

import json
import sys

import typer

from tuner.cli import campaign, inspect, replay, store, tune
from tuner.errors import TunerError

__all__ = ["app", "main"]

app = typer.Typer(
    name="tuner",
    help="Find fast configs of kernels, prove them, keep them, look them up.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
inspect.register(app)
tune.register(app)
campaign.register(app)
replay.register(app)
store.register(app)


def main() -> None:
    """Run the command line; a mistake is one line on standard error and exit status 1."""
    try:
        app()
    except TunerError as error:
        print(f"error: {error}", file=sys.stderr)
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error)}))
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        sys.exit(130)

"""The command `tuner`: one module for each group of commands. Only this package reads the environment.

Commands turn words into calls of the library and results into tables; nothing is decided here.
"""

from __future__ import annotations

import json
import sys
from typing import NoReturn

import typer

from tuner.cli import (
    calibrate,
    campaign,
    engine,
    exchange,
    inspect,
    record,
    replay,
    report,
    retune,
    serve,
    snapshot,
    store,
    train,
    tune,
    winner,
)
from tuner.cli.session import INTERRUPTED
from tuner.errors import StoppedError, TunerError

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
calibrate.register(app)
exchange.register(app)
record.register(app)
replay.register(app)
report.register(app)
retune.register(app)
serve.register(app)
snapshot.register(app)
store.register(app)
train.register(app)
engine.register(app)
winner.register(app)


def main() -> None:
    """Run the command line; a mistake is one line on standard error, and a JSON object where JSON was asked for.

    Exit status: 0 done, 1 refused or failed, 2 not a command line, 130 ended by Ctrl-C.
    """
    try:
        status = app(standalone_mode=False)
    except StoppedError as error:
        _fail(str(error), INTERRUPTED)
    except TunerError as error:
        _fail(str(error), 1)
    except typer.TyperException as error:
        # Without a message it was the help, which has been printed.
        if message := error.format_message():
            _fail(message, error.exit_code)
        status = error.exit_code
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": message}))
    sys.exit(status)

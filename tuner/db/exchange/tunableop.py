"""PyTorch's TunableOp results, `tunableop_results.csv`: which library call a matrix product of one shape uses.

Lines are `Validator,NAME,VALUE`, and `OPERATOR,PARAMETERS,SOLUTION,MILLISECONDS` for each product. PyTorch takes a
file only if it has the same validators as it computes itself, with the same values, `PT_VERSION` among them; of two
lines for one product it takes the first. So do PyTorch's sources (`Tunable.cpp`); `torch/cuda/tunable.py` describes
the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tuner.db.exchange.document import Document, read_document, write_documents
from tuner.db.exchange.finding import Content, Finding, Origin, Reading, Request, Selection, Writing
from tuner.errors import ExchangeError, TunerError
from tuner.types import Config, Device, Winner, Workload

__all__ = ["PREFIX", "TunableOpFiles"]

PREFIX = "tunableop:"
"""What the tunables of findings begin with; the operator follows, such as `GemmTunableOp_float_NT`."""

_VALIDATOR = "Validator"
_MANDATORY = "PT_VERSION"
_ARCH = "GCN_ARCH_NAME"
_PARAMETERS, _SOLUTION = "params", "solution"
_SECONDS_PER_MILLISECOND = 1e-3


class TunableOpFiles:
    """Reads and writes result files of TunableOp.

    Example:
        >>> TunableOpFiles().program
        'PyTorch TunableOp'
    """

    program = "PyTorch TunableOp"
    about = "a CSV file: which library call each matrix product uses"
    content = Content.WINNERS

    def takes(self, tunable: str) -> bool:
        """Return whether it is an operator of TunableOp."""
        return tunable.startswith(PREFIX)

    def read(self, path: Path, request: Request) -> Reading:
        """Return a finding for each product; the validators are the versions of their origin.

        Raises:
            ExchangeError: the file cannot be read, a line has too few fields or a time that is none, there is no
                `PT_VERSION`, or it does not tell the device and none is given.
        """
        document = read_document(path)
        validators: dict[str, str] = {}
        lines: dict[tuple[str, str], tuple[str, float | None]] = {}
        repeated = 0
        for number, line in enumerate(document.text.splitlines(), start=1):
            if not line.strip():
                continue
            parts = line.split(",")
            if len(parts) < 3 or not all(parts[:3]):
                raise document.error(f"line {number}", f"has too few fields: {line[:80]!r}")
            if parts[0] == _VALIDATOR:
                validators[parts[1]] = parts[2]
                continue
            time = _time(document, number, parts[3]) if len(parts) > 3 else None
            repeated += (parts[0], parts[1]) in lines
            lines.setdefault((parts[0], parts[1]), (parts[2], time))
        if _MANDATORY not in validators:
            raise document.error(f"validator {_MANDATORY!r}", "is missing: PyTorch takes no file without it")
        if not lines:
            raise ExchangeError(f"{path} has no results")
        origin = Origin.of(self.program, document, validators)
        device = request.device or _device(validators) or request.need_device(document)
        findings = tuple(
            Finding(
                f"{PREFIX}{operator}",
                Workload({_PARAMETERS: parameters}),
                device,
                Config({_SOLUTION: solution}),
                origin,
                seconds=time,
            )
            for (operator, parameters), (solution, time) in lines.items()
        )
        notes = (f"{repeated} later lines for the same products left out, as PyTorch does",) if repeated else ()
        return Reading(findings, notes=notes)

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the winners, with the validators under which they were found.

        Raises:
            ExchangeError: a winner is of something else, two were found under different validators or are for the same
                product, or a name has a comma.
        """
        validators: dict[str, str] = {}
        first: Winner | None = None
        lines: dict[str, str] = {}
        for winner in selection.winners:
            environment = {name: str(value) for name, value in winner.evidence.environment.items()}
            if first is None:
                first, validators = winner, environment
            elif environment != validators:
                raise ExchangeError(
                    f"winners {first.id} and {winner.id} were found under different validators, {validators} and "
                    f"{environment}; PyTorch takes one set a file: choose with --kernel and -w"
                )
            product, line = _line(winner)
            if product in lines:
                raise ExchangeError(f"winner {winner.id} is for {product}, which another one is for; choose with -w")
            lines[product] = line
        if _MANDATORY not in validators:
            raise ExchangeError(
                f"the winners do not tell the {_MANDATORY} they were found under, and PyTorch takes no file without it"
            )
        texts = [f"{_VALIDATOR},{_field(name)},{_field(value)}" for name, value in validators.items()]
        text = "\n".join([*texts, *lines.values()]) + "\n"
        return Writing(write_documents({path: text}), len(lines))


def _time(document: Document, number: int, text: str) -> float | None:
    """Return the time in seconds; None for 0, which PyTorch writes where it has measured nothing."""
    try:
        milliseconds = float(text)
    except ValueError:
        raise document.error(f"line {number}", f"has the time {text!r}, which is no number") from None
    if milliseconds == 0:
        return None
    return _SECONDS_PER_MILLISECOND * document.positive(f"time in line {number}", milliseconds)


def _device(validators: Mapping[str, str]) -> Device | None:
    """Return what a file of ROCm tells of its GPU: the architecture, not the model."""
    arch = validators.get(_ARCH, "").partition(":")[0]
    return Device("hip", arch, arch, 1, 0) if arch else None


def _line(winner: Winner) -> tuple[str, str]:
    """Return the product that a winner is for, and its line."""
    task = winner.task
    try:
        if not task.tunable.startswith(PREFIX):
            raise ExchangeError(f"its kernel does not begin with {PREFIX}")
        product = f"{_field(task.tunable.removeprefix(PREFIX))},{_field(task.workload.text(_PARAMETERS))}"
        solution = _field(winner.config.text(_SOLUTION))
    except (KeyError, TunerError) as error:
        raise ExchangeError(f"winner {winner.id} of {task.tunable} is no result of TunableOp: {error}") from error
    seconds = winner.evidence.config_seconds
    time = f",{seconds / _SECONDS_PER_MILLISECOND:.9g}" if seconds > 0 else ""
    return product, f"{product},{solution}{time}"


def _field(text: str) -> str:
    if not text or any(sign in text for sign in ",\r\n"):
        raise ExchangeError(f"{text!r} cannot be a field: it is empty, or has a comma or a line break")
    return text

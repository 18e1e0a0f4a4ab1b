"""Helion's config files, as `helion.Config.save` writes and `helion.Config.load` reads them in Helion 1.5.

A config of Helion's has lists and nulls, a config of ours scalars only: `block_sizes=[64, 64]` becomes a field
`block_sizes:json` with the text `[64,64]`, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.db.exchange.document import read_document, write_documents
from tuner.db.exchange.finding import Content, Finding, Origin, Reading, Request, Selection, Writing
from tuner.errors import ExchangeError, TunerError
from tuner.types import Config, Scalar, Workload

__all__ = ["HelionConfigFiles", "from_helion", "to_helion"]

_JSON = ":json"
_PREFIX = "helion:"


def from_helion(values: Mapping[str, Any]) -> Config:
    """Return the config of ours that holds what a config of Helion's does.

    Raises:
        ExchangeError: a value is no JSON, or a name ends in `:json`.

    Example:
        >>> from_helion({"block_sizes": [64, 64], "num_warps": 4})
        Config(block_sizes:json='[64,64]', num_warps=4)
    """
    fields: dict[str, Scalar] = {}
    for name, value in values.items():
        if name.endswith(_JSON):
            raise ExchangeError(f"{name!r} ends in {_JSON}, which stands for lists here")
        if isinstance(value, bool | int | float | str):
            fields[name] = value
            continue
        try:
            fields[f"{name}{_JSON}"] = json.dumps(value, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ExchangeError(f"{name!r} is no JSON: {error}") from error
    try:
        return Config(fields)
    except TunerError as error:
        raise ExchangeError(str(error)) from error


def to_helion(config: Mapping[str, Scalar]) -> dict[str, Any]:
    """Return the values from which `helion.Config(**values)` makes the config.

    Raises:
        ExchangeError: a field that should hold JSON does not.

    Example:
        >>> to_helion(from_helion({"block_sizes": [64, 64], "maxnreg": None}))
        {'block_sizes': [64, 64], 'maxnreg': None}
    """
    values: dict[str, Any] = {}
    for name, value in config.items():
        if not name.endswith(_JSON):
            values[name] = value
            continue
        try:
            values[name.removesuffix(_JSON)] = json.loads(str(value))
        except ValueError as error:
            raise ExchangeError(f"{name}={value!r} is no JSON: {error}") from error
    return values


class HelionConfigFiles:
    """Reads and writes a file that holds one config of a Helion kernel.

    Example:
        >>> HelionConfigFiles().program
        'Helion'
    """

    program = "Helion"
    about = "one config of a kernel, as helion.Config.save writes it"
    content = Content.WINNERS

    def takes(self, tunable: str) -> bool:
        """Return whether it is a kernel of Helion's."""
        return tunable.startswith(_PREFIX) and tunable != f"{_PREFIX}cache"

    def read(self, path: Path, request: Request) -> Reading:
        """Return the config as a finding; the file tells neither kernel nor device nor workload.

        Raises:
            ExchangeError: it cannot be read, is no JSON object, or kernel or device are not given.
        """
        document = read_document(path)
        try:
            config = from_helion(document.json_object())
        except ExchangeError as error:
            raise ExchangeError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
        if not config:
            raise ExchangeError(f"{path} holds an empty config")
        finding = Finding(
            request.need_kernel(document, "helion:matmul"),
            Workload(request.fields),
            request.need_device(document),
            config,
            Origin.of(self.program, document),
        )
        return Reading((finding,))

    def write(self, path: Path, selection: Selection) -> Writing:
        """Write the config of the one winner that is selected.

        Raises:
            ExchangeError: there are several, or the file cannot be written.
        """
        if len(selection.winners) != 1:
            raise ExchangeError(
                f"a file of Helion's holds one config, and {len(selection.winners)} winners are selected; "
                "choose with --kernel and -w"
            )
        [winner] = selection.winners
        text = json.dumps(to_helion(winner.config), indent=2, allow_nan=False)
        return Writing(write_documents({path: text}), 1)

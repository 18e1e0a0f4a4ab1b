"""A model as ONNX, exported once for all processes that serve it from there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.export import Dim

from tuner.engines.module.model import Model
from tuner.engines.module.program import Setting

__all__ = ["exported", "kept"]

# Two items: an axis of one item is taken for one that never changes.
_EXAMPLE_ITEMS = 2
_MOST_ITEMS = 1 << 20
_FILE = "model.onnx"


def exported(model: Model, setting: Setting) -> Path:
    """Return the file of `model` in float32, whose first axis of every input is free; made where it is not there."""

    def write(folder: Path) -> None:
        inputs = model.inputs(_EXAMPLE_ITEMS, torch.Generator().manual_seed(0))
        items = Dim("items", min=1, max=_MOST_ITEMS)
        torch.onnx.export(
            model.module,
            inputs,
            str(folder / _FILE),
            dynamo=True,
            dynamic_shapes=tuple({0: items} for _ in inputs),
            external_data=True,
            verbose=False,
        )

    return kept(setting.folder / f"{setting.key}-fp32", write) / _FILE


def kept(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return `folder`, filled by `write` where it is not there; whoever else fills it meanwhile does no harm."""
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".export-"))
    try:
        write(new)
        try:
            os.rename(new, folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder

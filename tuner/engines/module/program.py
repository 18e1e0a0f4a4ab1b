"""What every library that serves a model promises, inside the process that it has to itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from tuner.engines.module.model import Inputs, Model
from tuner.types import Config

__all__ = ["PROGRAMS", "Array", "Program", "Setting", "tensors_of"]

Array = npt.NDArray[Any]

PROGRAMS = {
    "torch": "tuner.engines.module.torch_program:TorchProgram",
    "onnx": "tuner.engines.module.onnx_program:OnnxProgram",
    "openvino": "tuner.engines.module.openvino_program:OpenvinoProgram",
}
"""Where the program of each engine is; a process imports only its own."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a program runs.

    Attributes:
        config: The config that it runs under.
        folder: Where it may keep what another process of the same engine can use again, such as an export.
        key: Identifies the model there.
    """

    config: Config
    folder: Path
    key: str


class Program(ABC):
    """A model, loaded under a config. Made by the class of `PROGRAMS` from a `Model` and a `Setting`."""

    @abstractmethod
    def __init__(self, model: Model, setting: Setting) -> None: ...

    @abstractmethod
    def serve(self, batches: Sequence[Inputs]) -> list[float]:
        """Answer every batch, and return what each took, in seconds."""

    @abstractmethod
    def outputs(self, inputs: Inputs) -> list[Array]:
        """Return the answers to one batch in float32, one array for each output."""

    def resize(self, batch: int) -> None:
        """Expect batches of another size from now on; nothing unless a program was made for one size."""
        del batch


def tensors_of(answer: object) -> list[torch.Tensor]:
    """Return the tensors in what a module returned: one, or a sequence or mapping of them.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, dict):
        return [one for value in answer.values() for one in tensors_of(value)]
    if isinstance(answer, list | tuple):
        return [one for value in answer for one in tensors_of(value)]
    raise TypeError(f"the module returned a {type(answer).__name__}; return tensors, or a tuple, list or dict of them")

"""A model to serve: a module, what its inputs look like, and what a faster config may lose. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from tuner.engines.module.quality import QualityLimits
from tuner.errors import TunerError
from tuner.reference import import_reference

__all__ = ["Inputs", "Model", "load_model"]

Inputs = tuple[torch.Tensor, ...]

_HELD_OUT_ITEMS = 16


@dataclass(frozen=True)
class Model:
    """What a factory returns: a module in float32 with everything that serving and judging it needs.

    Attributes:
        module: Its inputs and outputs are tensors whose first axis is that of the items.
        inputs: From a number of items and a generator to as many random items, the module's arguments.
        held_out: From a generator to the items on which answers are compared with the float32 module's; 16 of `inputs`
            unless given.
        limits: What a config may lose on them.
        tokens: Tokens in one item, so that `tokens_per_second` is measured too; 0 where there are none.

    Example:
        >>> module = nn.Linear(8, 4)
        >>> model = Model(module, lambda count, rng: (torch.randn(count, 8, generator=rng),))
        >>> model.judged(torch.Generator())[0].shape
        torch.Size([16, 8])
    """

    module: nn.Module
    inputs: Callable[[int, torch.Generator], Inputs]
    held_out: Callable[[torch.Generator], Inputs] | None = None
    limits: QualityLimits = field(default=QualityLimits(rel_error=0.05))
    tokens: int = 0

    def judged(self, generator: torch.Generator) -> Inputs:
        """Return the held-out items."""
        return self.held_out(generator) if self.held_out else self.inputs(_HELD_OUT_ITEMS, generator)


def load_model(reference: str) -> Model:
    """Return the model of a factory, `path/to/file.py:factory` or `module:factory`, ready to infer in float32.

    Raises:
        TunerError: it cannot be found, is no factory, or returns no `Model`.
    """
    factory = import_reference(reference)
    if not callable(factory):
        raise TunerError(f"{reference} is a {type(factory).__name__}, not a function that returns a Model")
    model = factory()
    if not isinstance(model, Model):
        raise TunerError(
            f"{reference} returned a {type(model).__name__}; let it return tuner.engines.module.model.Model"
        )
    model.module.eval().requires_grad_(False)
    return model

"""A residual image classifier with random, seeded weights: an example to tune, and a small one for tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from tuner.engines.module.model import Model
from tuner.engines.module.quality import QualityLimits

__all__ = ["ImageClassifier", "image_classifier", "image_classifier_tiny"]

_SEED = 2026


class Residual(nn.Module):
    """Two convolutions, each with its norm, and a way around them."""

    def __init__(self, channels: int, wider: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wider, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(wider)
        self.second = nn.Conv2d(wider, wider, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(wider)
        self.around = nn.Conv2d(channels, wider, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (items, wider, height / stride, width / stride)."""
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(y)) + self.around(x))


class ImageClassifier(nn.Module):
    """From images to the logits of their classes."""

    def __init__(self, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        self.stages = nn.Sequential(*(Residual(narrow, wide, 2) for narrow, wide in pairwise(widths)))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (items, classes) for `images` (items, 3, height, width)."""
        x = self.stages(functional.relu(self.stem(images)))
        result: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return result


def image_classifier() -> Model:
    """Return a classifier of 5 million parameters for 96 x 96 images of 100 classes."""
    return _model((32, 64, 128, 256, 512), 100, 96)


def image_classifier_tiny() -> Model:
    """Return a classifier that takes a test a millisecond."""
    return _model((4, 8), 10, 16)


def _model(widths: Sequence[int], classes: int, size: int) -> Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        module = ImageClassifier(widths, classes)

    def inputs(count: int, generator: torch.Generator) -> tuple[torch.Tensor]:
        return (torch.randn(count, 3, size, size, generator=generator),)

    return Model(module, inputs, limits=QualityLimits(rel_error=0.05, kl_logits=1e-2))

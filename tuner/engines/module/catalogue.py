"""The models that come with tuner, and how a name or a file becomes one. Needs no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.engines.source import file_digest
from tuner.errors import WorkloadError

__all__ = ["CATALOGUE", "Example", "model_digest", "model_reference"]


@dataclass(frozen=True, slots=True)
class Example:
    """A model that comes with tuner, or what is assumed of one that does not.

    Attributes:
        reference: Its factory.
        items: Items of a window, unless the workload says otherwise.
        batch: Items that the default config serves at once, likewise.
        flops: Floating-point operations for one item; 0 where nobody knows.
        weights_bytes: Size of the weights in float32; 0 where nobody knows.
        convolutions: Whether the layout of images may matter.
        attention: Whether the implementation of attention may matter.
    """

    reference: str
    items: int = 32
    batch: int = 8
    flops: float = 0.0
    weights_bytes: float = 0.0
    convolutions: bool = True
    attention: bool = True


CATALOGUE: Mapping[str, Example] = {
    # 8 layers of 10 * 512^2 weights and a head of 512 * 8192 take two flops a weight and token; attention's scores and
    # mixtures of 64 tokens two each.
    "decoder-30m": Example(
        "tuner.engines.module.decoder:decoder_30m",
        items=16,
        batch=4,
        flops=64 * (2 * (8 * 10 * 512**2 + 512 * 8192) + 8 * 4 * 64 * 512),
        weights_bytes=4 * (8 * 10 * 512**2 + 2 * 512 * 8192),
        convolutions=False,
    ),
    # Five million weights, nearly all in convolutions of 3 x 3; counted layer by layer.
    "image-classifier": Example(
        "tuner.engines.module.image_classifier:image_classifier",
        items=32,
        batch=8,
        flops=189e6,
        weights_bytes=4 * 4.9e6,
        attention=False,
    ),
    "decoder-tiny": Example(
        "tuner.engines.module.decoder:decoder_tiny", items=16, batch=4, flops=3e5, weights_bytes=6e4, convolutions=False
    ),
    "image-classifier-tiny": Example(
        "tuner.engines.module.image_classifier:image_classifier_tiny",
        items=16,
        batch=4,
        flops=1e5,
        weights_bytes=4e3,
        attention=False,
    ),
}
"""Those that come with tuner; the tiny ones are for tests."""


def model_reference(name: str) -> str:
    """Return the reference of the factory that `name` means: a name of the catalogue, a file's factory, or a module's.

    Raises:
        WorkloadError: it is none of these; the message lists the catalogue.
    """
    if name in CATALOGUE:
        return CATALOGUE[name].reference
    head, _, attribute = name.rpartition(":")
    if not head or not attribute.isidentifier():
        raise WorkloadError(
            f"model={name!r} is not known; choose one of {', '.join(CATALOGUE)}, or give your own as "
            "path/to/file.py:factory"
        )
    return f"{Path(head).resolve()}:{attribute}" if head.endswith(".py") else name


def model_digest(reference: str) -> str:
    """Return a digest of the source in which a model's factory stands.

    Raises:
        WorkloadError: there is no such file or module.
    """
    head = reference.rpartition(":")[0]
    path = Path(head) if head.endswith(".py") else _file_of(head)
    if path is None or not path.is_file():
        raise WorkloadError(f"model {reference}: there is no {head}")
    return file_digest(path)


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None

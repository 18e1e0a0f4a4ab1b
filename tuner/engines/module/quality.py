"""How far an engine's answers are from the float32 module's, and how far they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.errors import TunerError

__all__ = ["QualityLimits", "quality"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """What a config may lose against the float32 module; a figure that is not a number keeps no limit.

    Attributes:
        rel_error: Most that the largest error of an output may be, relative to its largest value.
        kl_logits: Most that the KL divergence from float32's distribution may be, in nats, in the mean over positions.
        top1_agreement: Least share of positions whose first choice is float32's.

    Example:
        >>> limits = QualityLimits(kl_logits=1e-2)
        >>> limits.broken({"rel_error": 0.2, "kl_logits": 0.5, "top1_agreement": 1.0})
        'kl_logits=0.5 is above 0.01'
        >>> limits.broken({"rel_error": 0.2, "kl_logits": 0.001, "top1_agreement": 1.0})
        ''
    """

    rel_error: float = math.inf
    kl_logits: float = math.inf
    top1_agreement: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rel_error", "kl_logits"):
            if not getattr(self, name) >= 0:
                raise TunerError(f"{name}={getattr(self, name)} is no limit; give 0 or more")
        if not 0 <= self.top1_agreement <= 1:
            raise TunerError(f"top1_agreement={self.top1_agreement} is no share; give a number from 0 to 1")

    def broken(self, figures: Mapping[str, float]) -> str:
        """Return which limits `figures` break, and by how much; empty if none."""
        # Negated, so that NaN breaks them.
        reasons = [
            f"{name}={figures[name]:.3g} is above {getattr(self, name):g}"
            for name in ("rel_error", "kl_logits")
            if not figures[name] <= getattr(self, name)
        ]
        if not figures["top1_agreement"] >= self.top1_agreement:
            reasons.append(f"top1_agreement={figures['top1_agreement']:.3g} is below {self.top1_agreement:g}")
        return "; ".join(reasons)


def quality(outputs: Sequence[Array], reference: Sequence[Array]) -> dict[str, float]:
    """Return the figures of `QualityLimits`, the worst of all outputs; the last axis is that of the classes.

    Beside them, `kl_logits_max` is the divergence at the worst position.

    Args:
        outputs: What an engine answered.
        reference: What the float32 module answers.

    Example:
        >>> import numpy as np
        >>> logits = np.array([[1.0, 3.0], [4.0, 2.0]])
        >>> quality([logits + 1], [logits])
        {'rel_error': 0.25, 'kl_logits': 0.0, 'kl_logits_max': 0.0, 'top1_agreement': 1.0}
    """
    shapes = [one.shape for one in outputs]
    if shapes != [one.shape for one in reference]:
        raise TunerError(f"outputs of shapes {shapes} stand beside {[one.shape for one in reference]} of float32")
    each = [
        _figures(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(outputs, reference, strict=True)
    ]
    # Not max(): it would lose a NaN that does not come first.
    worst = {name: float(np.max([one[name] for one in each])) for name in ("rel_error", "kl_logits", "kl_logits_max")}
    return {**worst, "top1_agreement": float(np.min([one["top1_agreement"] for one in each]))}


def _figures(output: Array, reference: Array) -> dict[str, float]:
    scale = float(np.abs(reference).max()) or 1.0
    rel_error = float(np.abs(output - reference).max()) / scale
    figures = {"rel_error": rel_error, "kl_logits": 0.0, "kl_logits_max": 0.0, "top1_agreement": 1.0}
    if reference.ndim < 2 or reference.shape[-1] < 2:
        return figures
    log_p, log_q = _log_softmax(reference), _log_softmax(output)
    divergence = (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)
    # Rounding may leave less than nothing.
    divergence = np.maximum(divergence, 0.0)
    figures["kl_logits"], figures["kl_logits_max"] = float(divergence.mean()), float(divergence.max())
    figures["top1_agreement"] = float((output.argmax(axis=-1) == reference.argmax(axis=-1)).mean())
    return figures


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result

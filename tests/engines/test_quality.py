from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.engines.module.quality import QualityLimits, quality
from tuner.errors import TunerError

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 5, 32)) * 3


def test_the_same_answers_lose_nothing() -> None:
    assert quality([LOGITS], [LOGITS]) == {
        "rel_error": 0.0,
        "kl_logits": 0.0,
        "kl_logits_max": 0.0,
        "top1_agreement": 1.0,
    }


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([0.5, 0.25, 0.25]), np.array([0.25, 0.25, 0.5])
    figures = quality([np.log([q, p])], [np.log([p, p])])
    assert figures["kl_logits_max"] == pytest.approx(float((p * np.log(p / q)).sum()))
    assert figures["kl_logits"] == pytest.approx(figures["kl_logits_max"] / 2)
    assert figures["top1_agreement"] == 0.5


def test_the_worst_output_counts() -> None:
    worse = LOGITS + RNG.normal(size=LOGITS.shape)
    assert quality([LOGITS, worse], [LOGITS, LOGITS]) == quality([worse], [LOGITS])
    assert quality([worse, LOGITS], [LOGITS, LOGITS]) == quality([worse], [LOGITS])


@pytest.mark.parametrize(
    "limits", [QualityLimits(rel_error=9.0), QualityLimits(kl_logits=9.0), QualityLimits(9, 9, 0.5)]
)
def test_nan_keeps_no_limit(limits: QualityLimits) -> None:
    broken = LOGITS.copy()
    broken[3, 2, 7] = math.nan
    for outputs, references in (([broken, LOGITS], [LOGITS, LOGITS]), ([LOGITS, broken], [LOGITS, LOGITS])):
        assert limits.broken(quality(outputs, references))


def test_each_limit_says_by_how_much_it_is_broken() -> None:
    figures = {"rel_error": 0.25, "kl_logits": 0.5, "top1_agreement": 0.75}
    reason = QualityLimits(0.1, 0.2, 0.9).broken(figures)
    assert reason == "rel_error=0.25 is above 0.1; kl_logits=0.5 is above 0.2; top1_agreement=0.75 is below 0.9"
    assert QualityLimits(0.25, 0.5, 0.75).broken(figures) == ""


def test_answers_of_other_shapes_are_refused() -> None:
    with pytest.raises(TunerError, match=r"\(6, 5, 31\)"):
        quality([LOGITS[..., 1:]], [LOGITS])


@pytest.mark.parametrize("limits", [{"rel_error": -1.0}, {"kl_logits": math.nan}, {"top1_agreement": 1.5}])
def test_limits_that_are_none_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(TunerError, match=next(iter(limits))):
        QualityLimits(**limits)


@given(st.integers(0, 2**32 - 1), st.floats(0, 10))
def test_figures_stay_in_their_ranges(seed: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(4, 8))
    figures = quality([reference + noise * rng.normal(size=reference.shape)], [reference])
    assert 0 <= figures["top1_agreement"] <= 1
    assert 0 <= figures["kl_logits"] <= figures["kl_logits_max"]
    assert figures["rel_error"] >= 0

from __future__ import annotations

import math

import pytest

from tuner.nearby import distance
from tuner.types import Workload


def test_doublings_count_alike_everywhere() -> None:
    assert distance(Workload(M=64), Workload(M=128)) == distance(Workload(M=1024), Workload(M=2048)) == 1
    assert distance(Workload(M=2, N=64), Workload(M=16, N=1024)) == 5
    assert distance(Workload(p=0.5), Workload(p=2.0)) == 2


def test_it_is_symmetric_and_zero_only_for_the_same() -> None:
    one, other = Workload(M=3, N=5), Workload(M=7, N=4)
    assert distance(one, other) == distance(other, one) > 0
    assert distance(one, one) == 0


@pytest.mark.parametrize(
    "other",
    [
        Workload(M=4, dtype="fp32"),
        Workload(M=4),
        Workload(M=4, dtype="bf16", cache="cold"),
        Workload(M=True, dtype="bf16"),
        Workload(M=0, dtype="bf16"),
        Workload(M="4", dtype="bf16"),
    ],
)
def test_what_is_of_another_kind_is_infinitely_far(other: Workload) -> None:
    assert distance(Workload(M=4, dtype="bf16"), other) == math.inf

from __future__ import annotations

import json

import pytest

from tuner.roofline import Bound, roofline
from tuner.types import MemoryLevel, Peaks, Work

# 64 GFLOP/s; 512 GB/s to 32 KiB, 128 GB/s to 1 MiB, 32 GB/s to 16 MiB, 16 GB/s to memory.
PEAKS = Peaks(
    64e9,
    (
        MemoryLevel("L1", 32 << 10, 16 << 10, 512e9, "triad"),
        MemoryLevel("L2", 1 << 20, 512 << 10, 128e9, "read"),
        MemoryLevel("L3", 16 << 20, 8 << 20, 32e9, "read"),
        MemoryLevel("memory", 1 << 34, 1 << 30, 16e9, "stream"),
    ),
    "2025-01-01T00:00:00+00:00",
    0.0,
)


def test_a_matrix_product_is_bound_by_arithmetic() -> None:
    # 512 x 512 x 512 in float32: 2 * 2^27 flops, 3 * 2^20 bytes; 4.19 ms of arithmetic, 0.098 ms of L3.
    product = roofline(Work(flops=2 * 2**27, bytes=3 * 2**20), 5e-3, PEAKS)
    assert product.bound is Bound.COMPUTE
    assert product.level.name == "L3"
    assert product.attainable_seconds == pytest.approx(2**28 / 64e9)
    assert product.flops_share == pytest.approx(0.8388608)
    assert product.bandwidth_share == pytest.approx(3 * 2**20 / 5e-3 / 32e9)


def test_a_sum_is_bound_by_memory() -> None:
    # 2^24 float32 of a and b are added into c: 201 MB at 16 GB/s are 12.6 ms.
    total = roofline(Work(flops=2**24, bytes=3 * 2**26), 25e-3, PEAKS)
    assert total.bound is Bound.MEMORY
    assert total.level.name == "memory"
    assert total.attainable_seconds == pytest.approx(12.582912e-3)
    assert total.bandwidth_share == pytest.approx(0.50331648)
    assert total.flops_share == pytest.approx(2**24 / 64e9 / 25e-3)


@pytest.mark.parametrize(
    ("count", "level"),
    [(1, "L1"), (32 << 10, "L1"), ((32 << 10) + 1, "L2"), (1 << 20, "L2"), (16 << 20, "L3"), (17 << 20, "memory")],
)
def test_warm_data_come_from_the_first_level_that_holds_them(count: int, level: str) -> None:
    assert roofline(Work(flops=0, bytes=count), 1.0, PEAKS).level.name == level


def test_cold_data_and_what_no_level_holds_come_from_memory() -> None:
    assert roofline(Work(flops=0, bytes=64), 1.0, PEAKS, cold=True).level.name == "memory"
    assert roofline(Work(flops=0, bytes=2**40), 1.0, PEAKS).level.name == "memory"


def test_the_ridge_parts_the_bounds() -> None:
    # At 16 GB/s and 64 GFLOP/s a call with four flops for each byte takes as long for both.
    assert roofline(Work(flops=4.01, bytes=1), 1.0, PEAKS, cold=True).bound is Bound.COMPUTE
    assert roofline(Work(flops=3.99, bytes=1), 1.0, PEAKS, cold=True).bound is Bound.MEMORY


def test_shares_above_one_are_not_clipped() -> None:
    fast = roofline(Work(flops=128e9, bytes=64e9), 1.0, PEAKS)
    assert (fast.flops_share, fast.bandwidth_share) == (2.0, 4.0)
    assert fast.attainable_seconds == 4.0


def test_the_data_for_machines_name_the_level() -> None:
    data = roofline(Work(flops=32e9, bytes=4e9), 1.0, PEAKS).to_json()
    assert json.loads(json.dumps(data)) == {
        "flops_share": 0.5,
        "bandwidth_share": 0.25,
        "flops_per_second": 64e9,
        "bytes_per_second": 16e9,
        "level": "memory",
        "bound": "compute",
        "attainable_seconds": 0.5,
    }

"""Guards of tunables: what they allow is what the search space holds, for every workload."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import TunableError
from tuner.gpus import target_device
from tuner.lookup.loaded import guard_of
from tuner.tunable import load
from tuner.types import Config, Device, Scalar

DEVICE = target_device("h100")
KERNELS = ("triton:matmul", "triton:softmax", "cuda:transpose")


def names_of(kernel: str) -> Sequence[str]:
    return [name for name, value in next(iter(load(kernel).workloads.values())).items() if isinstance(value, int)]


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_what_a_guard_allows_is_in_the_space(kernel: str, data: st.DataObject) -> None:
    guard = guard_of(kernel, DEVICE)
    sizes = st.integers(1, 300)

    def drawn() -> dict[str, Scalar]:
        fields = dict(next(iter(guard.tunable.workloads.values())))
        rows, *others = names_of(kernel)
        return {**fields, rows: data.draw(sizes), **{name: 16 * data.draw(sizes) for name in others}}

    workloads = [guard.workload(drawn()), guard.workload(drawn())]
    spaces = [guard.tunable.search_space(workload, DEVICE) for workload in workloads]
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    configs = [config for space in spaces for config in space.sample(rng, 4)]
    broken = [Config({**configs[0], name: -1}) for name in configs[0]]
    for config in (*configs, *broken, Config(dict(list(configs[0].items())[1:])), Config({**configs[0], "OTHER": 1})):
        # In turns: what was kept of one workload must not answer for the other.
        for workload, space in zip(workloads, spaces, strict=True):
            valid = space.violated(config) is None
            assert guard.allows(config, workload) is valid is (config in space)


def test_a_guard_says_where_a_tunable_does_not_run() -> None:
    with pytest.raises(TunableError, match="runs on: cuda, hip"):
        guard_of("triton:softmax", Device("cpu", "a processor", "x86_64", 1, 1 << 30))

"""On a machine with a GPU: every kernel's default is right and timed, in this process; elsewhere nothing is run."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

if find_spec("torch") is None or find_spec("triton") is None:
    pytest.skip("needs torch and Triton", allow_module_level=True)

import torch

if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use; `python -m benchmarks.gpu` checks more there", allow_module_level=True)

from tests.kernels.gpu import kernels
from tuner.devices import detect
from tuner.kernels.gpu import GpuKernel
from tuner.tunable import installed, load
from tuner.types import Build, Config, Sampling, Status

KERNELS = [f"{chain}:{name}" for name, chains in installed().items() for chain in chains if chain != "cpp"]


@pytest.mark.parametrize("name", KERNELS)
def test_the_default_is_right_on_an_edge_shape_and_timed_beside_itself(name: str) -> None:
    kernel, device = load(name), detect("cuda")
    assert isinstance(kernel, GpuKernel)
    workload = kernel.edges(next(iter(kernel.workloads.values())))[0]
    config = kernel.default(workload, device)
    build = Build(config, kernel.build(config, workload, device))
    first, second = kernel.measure([build, build], workload, Sampling(1, 15, thorough=True))
    assert (first.status, first.error) == (Status.CORRECT, "")
    assert len(second.samples["seconds"]) == len(second.samples["reference_seconds"]) > 0
    assert min(second.samples["seconds"]) > 0


@pytest.mark.parametrize("cache", ["warm", "cold"])
def test_caches_are_as_asked_for(cache: str) -> None:
    device = detect("cuda")
    workload = kernels.SCALE.workload({"N": 1 << 20, "cache": cache})
    config = Config(BLOCK=1024, num_warps=4)
    build = Build(config, kernels.SCALE.build(config, workload, device))
    [measured] = kernels.SCALE.measure([build], workload, Sampling(1, 5))
    assert measured.status is Status.CORRECT
    assert measured.resources["cache"] == cache


def test_a_wrong_kernel_is_not_timed() -> None:
    device = detect("cuda")
    workload = kernels.SCALE.workload({"N": 1000})
    config = Config(BLOCK=256, num_warps=4)
    builds = [Build(config, kernel.build(config, workload, device)) for kernel in (kernels.SCALE, kernels.TRIPLE)]
    right, wrong = kernels.SCALE.measure(builds, workload, Sampling(1, 5))
    assert right.status is Status.CORRECT
    assert wrong.status is Status.CORRECTNESS
    assert not wrong.samples

"""Programs on a GPU: loaded, checked, and timed as graphs over tensors that rotate."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from tuner.devices import detect_gpu
from tuner.errors import TunerError
from tuner.gpus import target_of
from tuner.kernels.base import judged
from tuner.kernels.clock import Elapsed
from tuner.kernels.gpu.binary import Binary
from tuner.kernels.gpu.check import cases, check_tensors
from tuner.kernels.gpu.driver import Driver, GpuDriver, RecordedGraph, packed
from tuner.kernels.gpu.hip import HipDriver
from tuner.kernels.gpu.launch import Value
from tuner.kernels.gpu.memory import Memory, poison, scratch_of, torch_of
from tuner.kernels.gpu.nvml import GpuConditions
from tuner.kernels.gpu.operator import TensorOperator
from tuner.kernels.gpu.tensor import Tensor, bytes_of
from tuner.kernels.timing import Sample, Timing, interleave, spread_over_loads
from tuner.types import Build, Device, Measurement, Sampling, Status, Workload, is_cold

__all__ = ["Bench", "GpuLauncher", "Job"]

# A sample is a graph of so many calls that they take so long: its events are exact to half a microsecond.
_SAMPLE_SECONDS = 500e-6
_MOST_CALLS = 1000
# Tensors rotate over more than so many times the L2 cache, so that each call finds its own in memory.
_ROTATED = 2.0
# Of the device's memory, what all copies of the tensors may take.
_MEMORY_SHARE = 0.3
# The meter of energy advances every tenth of a second or so.
_ENERGY_SECONDS = 0.4
# Not a number in any float, for scratch memory.
_NAN_BYTE = 0xFF


@dataclass(frozen=True, slots=True)
class Job:
    """What a GPU is to run for one build.

    Attributes:
        binaries: One for each launch.
        grids: The blocks of each launch.
        values: The arguments of each launch, by parameter.
        scratch: Tensors that launches hand to each other.
    """

    binaries: Sequence[Binary]
    grids: Sequence[Sequence[int]]
    values: Sequence[Mapping[str, Value]]
    scratch: Mapping[str, Tensor]


class GpuLauncher:
    """A program on the device; its arguments are the copies of the tensors, of which successive calls take the next.

    Args:
        driver: The driver.
        job: What to run.
        device: torch's device.
        flush: Memory to overwrite where caches are to be emptied.
    """

    def __init__(self, driver: GpuDriver, job: Job, device: Any, flush: Any) -> None:
        self._driver = driver
        self._job = job
        self._device = device
        self._flush = flush
        self.functions = [driver.function(binary) for binary in job.binaries]
        self._scratch = scratch_of(job.scratch, device)
        self._blocks = [
            torch_of().empty(max(1, binary.scratch_bytes * math.prod(grid)), dtype=torch_of().uint8, device=device)
            for binary, grid in zip(job.binaries, job.grids, strict=True)
        ]
        self._packed: dict[int, list[Any]] = {}
        self._graphs: dict[int, RecordedGraph] = {}

    def run(self, memory: Memory) -> None:
        """Run once on `memory`, with nothing left in the scratch memory, and wait for it."""
        poison(self._scratch.values(), _NAN_BYTE)
        torch_of().cuda.synchronize()
        self._launch(memory)
        self._driver.wait()

    def call(self, arguments: Sequence[Memory]) -> None:
        """Run once and wait for it."""
        self._launch(arguments[0])
        self._driver.wait()

    def time(self, arguments: Sequence[Memory], calls: int) -> Elapsed:
        """Return what `calls` consecutive calls took on the device, by events in their graph."""
        return Elapsed(self._graph(arguments, calls).seconds())

    def evict(self, arguments: Sequence[Memory]) -> None:
        """Overwrite more than the L2 cache holds."""
        self._driver.clear(self._flush.data_ptr(), self._flush.numel())

    def joules(self, arguments: Sequence[Memory], seconds: float, conditions: GpuConditions) -> float | None:
        """Return the energy of one call that takes `seconds`, the device's own upkeep included."""
        calls = min(_MOST_CALLS, max(1, math.ceil(_SAMPLE_SECONDS / seconds)))
        graph = self._graph(arguments, calls)
        repeats = max(1, math.ceil(_ENERGY_SECONDS / (calls * seconds)))
        self._driver.wait()
        before = conditions.joules()
        for _ in range(repeats):
            graph.start()
        self._driver.wait()
        after = conditions.joules()
        return None if before is None or after is None else (after - before) / (repeats * calls)

    @property
    def graph_calls(self) -> int:
        """How many calls are in the longest graph that was made, which is what a sample submits."""
        return max(self._graphs, default=0)

    def close(self) -> None:
        """Unload it."""
        for graph in self._graphs.values():
            graph.close()
        for function in self.functions:
            function.close()

    def _graph(self, arguments: Sequence[Memory], calls: int) -> RecordedGraph:
        if calls not in self._graphs:
            turns = [arguments[i % len(arguments)] for i in range(calls)]
            self._driver.wait()
            self._graphs[calls] = self._driver.graph([functools.partial(self._launch, memory) for memory in turns])
        return self._graphs[calls]

    def _launch(self, memory: Memory) -> None:
        for function, grid, (_, array) in zip(self.functions, self._job.grids, self._arguments(memory), strict=True):
            function.launch(grid, array)

    def _arguments(self, memory: Memory) -> list[Any]:
        """Return the packed arguments of each launch; they stay where they are as long as the launcher lives."""
        if id(memory) not in self._packed:
            tensors = {**memory.tensors, **self._scratch}
            addresses = {name: tensor.data_ptr() for name, tensor in tensors.items()}
            self._packed[id(memory)] = [
                packed(binary, values, addresses, block.data_ptr())
                for binary, values, block in zip(self._job.binaries, self._job.values, self._blocks, strict=True)
            ]
        return self._packed[id(memory)]


class Bench:
    """One comparison of builds on the GPU of this process.

    Args:
        operator: What is computed.
        workload: For what.
        sampling: How to check and to sample.

    Raises:
        TunerError: there is no GPU that torch can use.
    """

    def __init__(self, operator: TensorOperator, workload: Workload, sampling: Sampling) -> None:
        torch = torch_of()
        if not torch.cuda.is_available():
            raise TunerError("torch finds no GPU in this process")
        self._operator = operator
        self._workload = workload
        self._sampling = sampling
        self._torch_device = torch.device("cuda", 0)
        # The first tensor makes the context that everything else joins.
        torch.zeros(1, device=self._torch_device)
        # PyTorch for ROCm calls AMD's GPUs cuda devices, too.
        kind = "hip" if torch.version.hip else "cuda"
        self.device: Device = detect_gpu(kind)
        self._driver: GpuDriver = HipDriver() if kind == "hip" else Driver()
        self._conditions = GpuConditions()

    def measure(self, builds: Sequence[Build], jobs: Sequence[Job]) -> list[Measurement]:
        """Return a measurement for each build; the first is the reference of the others.

        Raises:
            TunerError: a program is for another architecture, or the device refuses it.
            PoisonedDeviceError: a program broke the context.
        """
        started = time.perf_counter()
        torch = torch_of()
        self._require_fitting(jobs)
        inputs = self._operator.inputs(self._workload)
        outputs = self._operator.outputs(self._workload)
        memory = Memory(inputs, outputs, self._torch_device)
        flush = self._flush()
        launchers = [GpuLauncher(self._driver, job, self._torch_device, flush) for job in jobs]
        found = cases(
            self._operator,
            self._workload,
            self._sampling.seed,
            self._torch_device,
            thorough=self._sampling.thorough,
        )
        first = next(found)
        verdicts = check_tensors(
            [launcher.run for launcher in launchers],
            memory,
            chain([first], found),
            self._operator.allowed(self._workload),
        )
        seconds = time.perf_counter() - started

        def timed(correct: Sequence[int]) -> list[Timing]:
            racing = [launchers[i] for i in correct]
            wanted = [jobs[i] for i in correct]
            copies, sample = self._rotation(memory, first.inputs, inputs, outputs)

            def once(load: int, share: Sampling) -> list[Timing]:
                if not load:
                    return self._interleaved(racing, copies, share, sample)
                anew = [GpuLauncher(self._driver, job, self._torch_device, flush) for job in wanted]
                there = self._copies(len(copies), first.inputs, inputs, outputs)
                found = self._interleaved(anew, there, share, sample)
                # Each may hold a gigabyte between its launches.
                for launcher in anew:
                    launcher.close()
                return found

            timings = spread_over_loads(self._sampling, once)
            # The meter takes its time, and what is only checked, or still competes with many, does not need to know.
            metered = self._sampling.thorough and self._sampling.rounds > 1 and len(racing) <= 2
            return [
                self._told(one, timing, copies, metered=metered) for one, timing in zip(racing, timings, strict=True)
            ]

        measurements = judged(builds, verdicts, seconds, timed)
        torch.cuda.synchronize()
        for launcher in launchers:
            launcher.close()
        self._driver.close()
        return [one if one.status is Status.CORRECT else replace(one, samples={}) for one in measurements]

    def _interleaved(
        self, launchers: Sequence[GpuLauncher], copies: list[Memory], sampling: Sampling, sample: Sample
    ) -> list[Timing]:
        torch_of().cuda.synchronize()
        cold = is_cold(self._workload)
        return interleave(launchers, copies, sampling, cold=cold, sample=sample, conditions=self._conditions)

    def _flush(self) -> Any:
        """Return memory of more than the caches, where they are to be emptied."""
        torch = torch_of()
        return torch.empty(max(1, self._flushed_bytes), dtype=torch.uint8, device=self._torch_device)

    @property
    def _flushed_bytes(self) -> int:
        """How much memory is overwritten before each sample, so that nothing is left in caches; 0 where that is not."""
        return int(_ROTATED * self.device.feature("l2_bytes")) if is_cold(self._workload) else 0

    def _require_fitting(self, jobs: Sequence[Job]) -> None:
        ours = target_of(self.device)
        for job in jobs:
            for binary in job.binaries:
                if binary.target != ours:
                    raise TunerError(f"{binary.entry} was compiled for {binary.target}, and this device is {ours}")

    def _rotation(
        self, memory: Memory, filled: Mapping[str, Any], inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> tuple[list[Memory], Sample]:
        """Return copies of the tensors that together exceed the caches, and how many calls a sample is at least."""
        if self._workload.get("cache") is not None:
            # Cold calls find their data in memory anyway, and warm ones where the one before left them.
            return [memory], Sample(_SAMPLE_SECONDS)
        size = bytes_of(inputs, outputs)
        wanted = math.ceil(_ROTATED * self.device.feature("l2_bytes") / size) + 1
        room = int(_MEMORY_SHARE * self.device.memory_bytes / size)
        count = max(1, min(wanted, room, _MOST_CALLS))
        return [memory, *self._copies(count - 1, filled, inputs, outputs)], Sample(_SAMPLE_SECONDS, count)

    def _copies(
        self, count: int, filled: Mapping[str, Any], inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> list[Memory]:
        """Return new copies of the tensors, with the inputs in them."""
        copies = [Memory(inputs, outputs, self._torch_device, guarded=False) for _ in range(count)]
        for copy in copies:
            copy.fill(filled)
        return copies

    def _told(self, launcher: GpuLauncher, timing: Timing, copies: Sequence[Memory], *, metered: bool) -> Timing:
        """Return a timing with what is known of its energy, and of how it was taken: in graphs, on which tensors."""
        resources = {
            **timing.resources,
            "copies": len(copies),
            "graph": self._driver.graph_mode.value,
            "graph_calls": launcher.graph_calls,
            "flushed_bytes": self._flushed_bytes,
        }
        if self._workload.get("cache") is None:
            resources["cache"] = "rotated"
        if metered and timing.samples["seconds"]:
            once = min(timing.samples["seconds"])
            joules = launcher.joules(copies, once, self._conditions)
            if joules is not None:
                resources["joules"] = joules
        return Timing(timing.samples, resources)

"""The CUDA driver, as far as launching and timing need it: modules, launches, graphs, events. One place calls it.

Cubins of Triton and of NVRTC are launched alike: by their own parameters, in order, and for Triton two pointers to
scratch memory after them. The context is torch's, so that its tensors are ours.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tuner.errors import MissingDependencyError, PoisonedDeviceError, TunerError
from tuner.kernels.gpu.binary import Binary
from tuner.kernels.gpu.launch import Value
from tuner.types import GraphMode

__all__ = ["Driver", "Function", "GpuDriver", "Graph", "LoadedFunction", "RecordedGraph", "packed"]

# Shared memory that every function may have; more has to be asked for.
_PLAIN_SHARED_BYTES = 48 << 10
_CTYPES: Mapping[str, Any] = {
    "i1": ctypes.c_int8,
    "u1": ctypes.c_uint8,
    "i8": ctypes.c_int8,
    "i16": ctypes.c_int16,
    "i32": ctypes.c_int32,
    "u32": ctypes.c_uint32,
    "i64": ctypes.c_int64,
    "u64": ctypes.c_uint64,
    "fp32": ctypes.c_float,
    "fp64": ctypes.c_double,
}
# After these the context is of no use any more, and so is the process.
_FATAL = (
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_ASSERT",
)


def packed(
    binary: Binary, values: Mapping[str, Value], addresses: Mapping[str, int], scratch: int = 0
) -> tuple[list[Any], Any]:
    """Return a function's arguments as C values, and the array of their addresses that a launch takes.

    Args:
        binary: What tells names and types of the parameters.
        values: By parameter, the name of a tensor, or a number.
        addresses: Of tensors, by name.
        scratch: Address of the memory that blocks are given besides.

    Raises:
        TunerError: a parameter has no value, or is of a type that cannot be launched with.

    Example:
        >>> from tuner.kernels.gpu.binary import Resources
        >>> binary = Binary("add", "cuda:90", b"", (("x_ptr", "*fp32"), ("n", "i32")), Resources(128, 24, 0))
        >>> values, _ = packed(binary, {"x_ptr": "x", "n": 7}, {"x": 4096})
        >>> [value.value for value in values]
        [4096, 7]
    """
    arguments: list[Any] = []
    for name, kind in binary.parameters:
        if name not in values:
            raise TunerError(f"{binary.entry} takes {name!r}, and the launch has no value for it")
        value = values[name]
        if isinstance(value, str):
            arguments.append(ctypes.c_void_p(addresses[value]))
        elif kind in _CTYPES:
            arguments.append(_CTYPES[kind](value))
        else:
            raise TunerError(f"{binary.entry}: no argument of type {kind!r} can be passed ({name!r})")
    arguments += [ctypes.c_void_p(scratch), ctypes.c_void_p(0)][: binary.scratch_pointers]
    array = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(argument) for argument in arguments))
    return arguments, array


class LoadedFunction(Protocol):
    """A compiled function on a device."""

    @property
    def binary(self) -> Binary:
        """What was loaded."""

    def launch(self, grid: Sequence[int], arguments: Any) -> None:
        """Launch over `grid` with packed arguments; returns before it has ended."""

    def close(self) -> None:
        """Unload it."""


class RecordedGraph(Protocol):
    """Launches in a row that are submitted at once."""

    def start(self) -> None:
        """Submit it, and return before it has ended."""

    def seconds(self) -> float:
        """Submit it, wait for it, and return what passed on the device."""

    def close(self) -> None:
        """Give back what it holds."""


class GpuDriver(Protocol):
    """What launching and timing need of a maker's driver."""

    @property
    def graph_mode(self) -> GraphMode:
        """How graphs are timed: with events around them, the time of submitting one is in it."""

    def function(self, binary: Binary) -> LoadedFunction:
        """Return a function on the device."""

    def graph(self, launches: Iterable[Any]) -> RecordedGraph:
        """Return launches as a graph."""

    def wait(self) -> None:
        """Wait until all that was launched has ended."""

    def clear(self, address: int, size: int) -> None:
        """Overwrite memory, and with it what the caches hold."""

    def close(self) -> None:
        """Give back what it holds."""


class Driver:
    """The driver in the first GPU's own context, which is torch's, too, whoever asked for it first; with a stream.

    Raises:
        MissingDependencyError: the package that calls it is not installed.
        TunerError: there is no GPU.
    """

    def __init__(self) -> None:
        try:
            self.api: Any = importlib.import_module("cuda.bindings.driver")
        except ImportError as error:
            raise MissingDependencyError(
                f"launching on a GPU needs cuda-bindings: {error}; pip install 'rltuner[cuda]'"
            ) from error
        self.told("cuInit", 0)
        self.told("cuCtxSetCurrent", self.told("cuDevicePrimaryCtxRetain", self.told("cuDeviceGet", 0)))
        self.stream = self.told("cuStreamCreate", self.api.CUstream_flags.CU_STREAM_NON_BLOCKING.value)

    def told(self, name: str, *arguments: Any) -> Any:
        """Call the driver, and return what it says.

        Raises:
            PoisonedDeviceError: the context cannot be used any more.
            TunerError: it refuses.
        """
        status, *values = getattr(self.api, name)(*arguments)
        if status == self.api.CUresult.CUDA_SUCCESS:
            return values[0] if values else None
        message = f"{name}: {status.name}"
        raise PoisonedDeviceError(message) if status.name in _FATAL else TunerError(message)

    def function(self, binary: Binary) -> Function:
        """Return a function on the device.

        Raises:
            TunerError: the driver does not take it: it is for another architecture, or asks for too much.
        """
        return Function(self, binary)

    @property
    def graph_mode(self) -> GraphMode:
        """Events are nodes of the graph."""
        return GraphMode.INSIDE

    def graph(self, launches: Iterable[Any]) -> Graph:
        """Return launches as a graph; each launches on the driver's stream when called."""
        return Graph(self, launches)

    def close(self) -> None:
        """Give its stream back."""
        self.told("cuStreamDestroy", self.stream)

    def wait(self) -> None:
        """Wait until all that was launched has ended."""
        self.told("cuStreamSynchronize", self.stream)

    def clear(self, address: int, size: int) -> None:
        """Overwrite memory, and with it what the caches hold."""
        self.told("cuMemsetD8Async", self.api.CUdeviceptr(address), 0, size, self.stream)

    def event(self) -> Any:
        """Return an event that tells time."""
        return self.told("cuEventCreate", self.api.CUevent_flags.CU_EVENT_DEFAULT.value)


class Function:
    """A compiled function on the device.

    Args:
        driver: The driver.
        binary: The compiled function.

    Raises:
        TunerError: the driver does not take it: it is for another architecture, or asks for too much.
    """

    def __init__(self, driver: Driver, binary: Binary) -> None:
        self._driver = driver
        self.binary = binary
        self._module = driver.told("cuModuleLoadData", binary.image)
        self._function = driver.told("cuModuleGetFunction", self._module, binary.entry.encode())
        if binary.dynamic_bytes > _PLAIN_SHARED_BYTES:
            attribute = driver.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            driver.told("cuFuncSetAttribute", self._function, attribute, binary.dynamic_bytes)

    def launch(self, grid: Sequence[int], arguments: Any) -> None:
        """Launch over `grid` with packed arguments; returns before it has ended."""
        x, y, z = (*grid, 1, 1)[:3]
        self._driver.told(
            "cuLaunchKernel",
            self._function,
            *(x, y, z),
            *(self.binary.resources.threads, 1, 1),
            self.binary.dynamic_bytes,
            self._driver.stream,
            ctypes.addressof(arguments),
            0,
        )

    def attribute(self, name: str) -> int:
        """Return what the driver says of the function, such as `NUM_REGS`."""
        attributes = self._driver.api.CUfunction_attribute
        return int(
            self._driver.told("cuFuncGetAttribute", getattr(attributes, f"CU_FUNC_ATTRIBUTE_{name}"), self._function)
        )

    def blocks(self) -> int:
        """Return how many blocks a multiprocessor holds at once, as the driver computes it."""
        used = self.binary
        return int(
            self._driver.told(
                "cuOccupancyMaxActiveBlocksPerMultiprocessor",
                self._function,
                used.resources.threads,
                used.dynamic_bytes,
            )
        )

    def close(self) -> None:
        """Unload it."""
        self._driver.told("cuModuleUnload", self._module)


class Graph:
    """Launches in a row, with an event before and after them, that are submitted at once.

    Args:
        driver: The driver.
        launches: Each launches on the driver's stream when called.
    """

    def __init__(self, driver: Driver, launches: Iterable[Any]) -> None:
        api = driver.api
        self._driver = driver
        self._events = driver.event(), driver.event()
        external = api.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL.value
        driver.told("cuStreamBeginCapture", driver.stream, api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        try:
            driver.told("cuEventRecordWithFlags", self._events[0], driver.stream, external)
            for launch in launches:
                launch()
            driver.told("cuEventRecordWithFlags", self._events[1], driver.stream, external)
        finally:
            graph = driver.told("cuStreamEndCapture", driver.stream)
        self._graph = driver.told("cuGraphInstantiate", graph, 0)
        driver.told("cuGraphDestroy", graph)

    def start(self) -> None:
        """Submit it, and return before it has ended."""
        self._driver.told("cuGraphLaunch", self._graph, self._driver.stream)

    def seconds(self) -> float:
        """Submit it, wait for it, and return what passed on the device between the events."""
        self.start()
        self._driver.told("cuEventSynchronize", self._events[1])
        return 1e-3 * float(self._driver.told("cuEventElapsedTime", *self._events))

    def close(self) -> None:
        """Give back what it holds."""
        self._driver.told("cuGraphExecDestroy", self._graph)
        for event in self._events:
            self._driver.told("cuEventDestroy", event)

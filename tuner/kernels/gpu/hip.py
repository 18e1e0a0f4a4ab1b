"""HIP, as far as launching and timing need it: AMD's GPUs, with the library that PyTorch has loaded.

It is called through ctypes, since torch brings the library and nothing else is needed. What is here was never run on a
device: it was checked against a library that only remembers what it is asked.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import MissingDependencyError, PoisonedDeviceError, TunerError
from tuner.kernels.gpu.binary import Binary
from tuner.kernels.gpu.memory import torch_of
from tuner.types import GraphMode

__all__ = ["HipDriver", "HipFunction", "HipGraph"]

_LIBRARY = "libamdhip64.so"
_MAPS = Path("/proc/self/maps")
# hipStreamNonBlocking, hipStreamCaptureModeThreadLocal (HIP Runtime API, global enumerations).
_NON_BLOCKING, _THREAD_LOCAL = 1, 1
# hipErrorIllegalAddress, hipErrorLaunchFailure: the context is of no use after them.
_FATAL = (700, 719)


class HipDriver:
    """HIP on the first GPU, with a stream.

    Raises:
        MissingDependencyError: torch has loaded no HIP.
        TunerError: there is no GPU.
    """

    def __init__(self) -> None:
        self.api: Any = ctypes.CDLL(_loaded())
        self.api.hipGetErrorString.restype = ctypes.c_char_p
        self.stream = ctypes.c_void_p()
        self.told("hipSetDevice", ctypes.c_int(0))
        self.told("hipStreamCreateWithFlags", ctypes.byref(self.stream), ctypes.c_uint(_NON_BLOCKING))

    def told(self, name: str, *arguments: Any) -> None:
        """Call HIP.

        Raises:
            PoisonedDeviceError: the context cannot be used any more.
            TunerError: it refuses.
        """
        status = getattr(self.api, name)(*arguments)
        if status:
            message = f"{name}: {self.api.hipGetErrorString(status).decode()}"
            raise PoisonedDeviceError(message) if status in _FATAL else TunerError(message)

    def function(self, binary: Binary) -> HipFunction:
        """Return a function on the device.

        Raises:
            TunerError: HIP does not take it: it is for another architecture.
        """
        return HipFunction(self, binary)

    @property
    def graph_mode(self) -> GraphMode:
        """Events are on the stream, before and after the graph."""
        return GraphMode.AROUND

    def graph(self, launches: Iterable[Any]) -> HipGraph:
        """Return launches as a graph; each launches on the driver's stream when called."""
        return HipGraph(self, launches)

    def wait(self) -> None:
        """Wait until all that was launched has ended."""
        self.told("hipStreamSynchronize", self.stream)

    def clear(self, address: int, size: int) -> None:
        """Overwrite memory, and with it what the caches hold."""
        self.told("hipMemsetD8Async", ctypes.c_void_p(address), ctypes.c_ubyte(0), ctypes.c_size_t(size), self.stream)

    def close(self) -> None:
        """Give its stream back."""
        self.told("hipStreamDestroy", self.stream)


class HipFunction:
    """A compiled function on the device.

    Args:
        driver: The driver.
        binary: The compiled function.

    Raises:
        TunerError: HIP does not take it: it is for another architecture.
    """

    def __init__(self, driver: HipDriver, binary: Binary) -> None:
        self._driver = driver
        self.binary = binary
        # HIP reads the image where it lies.
        self._image = ctypes.create_string_buffer(binary.image, len(binary.image))
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        driver.told("hipModuleLoadData", ctypes.byref(self._module), self._image)
        driver.told("hipModuleGetFunction", ctypes.byref(self._function), self._module, binary.entry.encode())

    def launch(self, grid: Sequence[int], arguments: Any) -> None:
        """Launch over `grid` with packed arguments; returns before it has ended."""
        sizes = (*(*grid, 1, 1)[:3], self.binary.resources.threads, 1, 1, self.binary.dynamic_bytes)
        self._driver.told(
            "hipModuleLaunchKernel",
            self._function,
            *(ctypes.c_uint(size) for size in sizes),
            self._driver.stream,
            arguments,
            None,
        )

    def close(self) -> None:
        """Unload it."""
        self._driver.told("hipModuleUnload", self._module)


class HipGraph:
    """Launches in a row that are submitted at once, between two events.

    The events are not in the graph, as on NVIDIA's GPUs, so that the time is that of submitting it, too: some
    microseconds of half a millisecond or more, for every config alike.

    Args:
        driver: The driver.
        launches: Each launches on the driver's stream when called.
    """

    def __init__(self, driver: HipDriver, launches: Iterable[Any]) -> None:
        self._driver = driver
        self._events = ctypes.c_void_p(), ctypes.c_void_p()
        for event in self._events:
            driver.told("hipEventCreateWithFlags", ctypes.byref(event), ctypes.c_uint(0))
        graph, self._graph = ctypes.c_void_p(), ctypes.c_void_p()
        driver.told("hipStreamBeginCapture", driver.stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            for launch in launches:
                launch()
        finally:
            driver.told("hipStreamEndCapture", driver.stream, ctypes.byref(graph))
        driver.told("hipGraphInstantiate", ctypes.byref(self._graph), graph, None, None, ctypes.c_size_t(0))
        driver.told("hipGraphDestroy", graph)

    def start(self) -> None:
        """Submit it, and return before it has ended."""
        self._driver.told("hipGraphLaunch", self._graph, self._driver.stream)

    def seconds(self) -> float:
        """Submit it, wait for it, and return what passed on the device between the events."""
        begun, ended = self._events
        self._driver.told("hipEventRecord", begun, self._driver.stream)
        self.start()
        self._driver.told("hipEventRecord", ended, self._driver.stream)
        self._driver.told("hipEventSynchronize", ended)
        milliseconds = ctypes.c_float()
        self._driver.told("hipEventElapsedTime", ctypes.byref(milliseconds), begun, ended)
        return 1e-3 * milliseconds.value

    def close(self) -> None:
        """Give back what it holds."""
        self._driver.told("hipGraphExecDestroy", self._graph)
        for event in self._events:
            self._driver.told("hipEventDestroy", event)


def _loaded() -> str:
    """Return the path of the library that torch has loaded, whatever its version.

    Raises:
        MissingDependencyError: there is none.
    """
    torch_of()
    paths = (line.rpartition(" ")[2] for line in _MAPS.read_text().splitlines() if _LIBRARY in line)
    path = next(paths, None)
    if path is None:
        raise MissingDependencyError("torch has loaded no HIP; install PyTorch for ROCm")
    return path

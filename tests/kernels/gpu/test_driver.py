"""The driver's wrapper, with a driver that only remembers what it was asked."""

from __future__ import annotations

import ctypes
import sys
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import pytest

from tuner.errors import PoisonedDeviceError, TunerError
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.driver import Driver, Function, Graph, packed


class Result(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_IMAGE = 200
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


class FakeDriver:
    """Answers every call with success, or with what `fails` says, and keeps the calls."""

    CUresult = Result
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=SimpleNamespace(value=1))
    CUevent_flags = SimpleNamespace(CU_EVENT_DEFAULT=SimpleNamespace(value=0))
    CUevent_record_flags = SimpleNamespace(CU_EVENT_RECORD_EXTERNAL=SimpleNamespace(value=1))
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.fails: dict[str, Result] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, arguments))
            value = 2.5 if name == "cuEventElapsedTime" else f"{name}-{len(self.calls)}"
            return self.fails.get(name, Result.CUDA_SUCCESS), value

        return call

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def arguments(self, name: str) -> tuple[Any, ...]:
        return next(arguments for called, arguments in reversed(self.calls) if called == name)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", fake)
    return fake


def binary(dynamic_bytes: int = 0, pointers: int = 2) -> Binary:
    parameters = (("x_ptr", "*bf16"), ("n", "i32"), ("m", "i64"), ("scale", "fp32"))
    used = Resources(threads=256, registers=40, shared_bytes=dynamic_bytes)
    return Binary("f", "cuda:90", b"\x7fELF", parameters, used, dynamic_bytes, scratch_pointers=pointers)


def test_the_context_is_current_before_anything_is_made_in_it(api: FakeDriver) -> None:
    """Also where torch has not made a tensor on the GPU yet."""
    Driver()
    assert api.names() == ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuStreamCreate"]
    assert api.arguments("cuCtxSetCurrent") == ("cuDevicePrimaryCtxRetain-3",)


def test_arguments_are_packed_by_type_with_scratch_pointers_after_them() -> None:
    values, array = packed(binary(), {"x_ptr": "x", "n": -7, "m": 1 << 40, "scale": 0.5}, {"x": 4096}, scratch=64)
    assert [type(value) for value in values[:4]] == [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_float]
    assert [value.value for value in values] == [4096, -7, 1 << 40, 0.5, 64, None]
    assert list(array) == [ctypes.addressof(value) for value in values]


def test_cuda_kernels_have_no_scratch_pointers() -> None:
    values, _ = packed(binary(pointers=0), {"x_ptr": "x", "n": 1, "m": 1, "scale": 1.0}, {"x": 1})
    assert len(values) == 4


def test_a_parameter_without_a_value_is_named() -> None:
    with pytest.raises(TunerError, match="f takes 'm'"):
        packed(binary(), {"x_ptr": "x", "n": 1}, {"x": 1})


@pytest.mark.parametrize(("size", "asked"), [(0, False), (48 << 10, False), (100_000, True)])
def test_more_shared_memory_than_usual_is_asked_for(api: FakeDriver, size: int, asked: bool) -> None:
    Function(Driver(), binary(size))
    assert ("cuFuncSetAttribute" in api.names()) == asked


def test_a_launch_has_the_grid_the_threads_and_the_shared_memory(api: FakeDriver) -> None:
    driver = Driver()
    _, array = packed(binary(), {"x_ptr": "x", "n": 1, "m": 1, "scale": 1.0}, {"x": 1})
    Function(driver, binary(1024)).launch((7, 3), array)
    arguments = api.arguments("cuLaunchKernel")
    assert arguments[1:8] == (7, 3, 1, 256, 1, 1, 1024)
    assert arguments[8:] == (driver.stream, ctypes.addressof(array), 0)


def test_a_graph_is_events_around_its_launches(api: FakeDriver) -> None:
    driver = Driver()
    graph = Graph(driver, [lambda: api.calls.append(("launch", ()))] * 3)
    captured = api.names()[api.names().index("cuStreamBeginCapture") :]
    assert captured[:7] == [
        "cuStreamBeginCapture",
        "cuEventRecordWithFlags",
        *["launch"] * 3,
        "cuEventRecordWithFlags",
        "cuStreamEndCapture",
    ]
    assert graph.seconds() == 2.5e-3


def test_a_capture_that_fails_is_ended(api: FakeDriver) -> None:
    def refuse() -> None:
        raise TunerError("asked to fail")

    with pytest.raises(TunerError, match="asked to fail"):
        Graph(Driver(), [refuse])
    assert api.names()[-1] == "cuStreamEndCapture"


def test_a_refusal_is_told_and_a_broken_context_is_another_thing(api: FakeDriver) -> None:
    api.fails["cuModuleLoadData"] = Result.CUDA_ERROR_INVALID_IMAGE
    driver = Driver()
    with pytest.raises(TunerError, match="cuModuleLoadData: CUDA_ERROR_INVALID_IMAGE") as caught:
        Function(driver, binary())
    assert not isinstance(caught.value, PoisonedDeviceError)
    api.fails["cuStreamSynchronize"] = Result.CUDA_ERROR_ILLEGAL_ADDRESS
    with pytest.raises(PoisonedDeviceError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
        driver.wait()

"""HIP's wrapper, with a library that only remembers what it was asked: no device has run it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

if find_spec("torch") is None or (shutil.which("g++") or shutil.which("clang++")) is None:
    pytest.skip("needs torch and a C++ compiler: pip install torch; apt-get install g++", allow_module_level=True)

import torch

from tuner.devices import detect_gpu
from tuner.errors import MissingDependencyError, PoisonedDeviceError, TunerError
from tuner.gpus import limits_of
from tuner.kernels.gpu import hip
from tuner.kernels.gpu.binary import Binary, Resources
from tuner.kernels.gpu.driver import packed
from tuner.kernels.gpu.hip import HipDriver

# A launch adds its number to what its first argument points at, at once, or when its graph is replayed.
LIBRARY = r"""
#include <cstdio>
#include <cstring>
#include <vector>
struct launched { unsigned sizes[7]; int *to; int number; };
static std::vector<launched> graph;
static bool capturing;
static int failing;
static char said[200];
static void run(const launched &one) { *one.to += one.number; }
extern "C" {
int hipSetDevice(int device) { return device; }
const char *hipGetErrorString(int status) { return status == 700 ? "illegal address" : "refused"; }
int hipStreamCreateWithFlags(void **stream, unsigned flags) { *stream = (void *)0x1234567890; return flags != 1; }
int hipStreamSynchronize(void *stream) { return failing ? failing : stream != (void *)0x1234567890; }
int hipStreamDestroy(void *) { return 0; }
int hipMemsetD8Async(void *to, unsigned char value, size_t size, void *) { memset(to, value, size); return 0; }
int hipModuleLoadData(void **module, const void *image) {
  *module = (void *)image;
  return memcmp(image, "hsaco", 5) != 0;
}
int hipModuleGetFunction(void **function, void *module, const char *name) {
  *function = module;
  return strcmp(name, "add") != 0;
}
int hipModuleLaunchKernel(void *, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f,
                          unsigned shared, void *stream, void **arguments, void **extra) {
  if (extra || stream != (void *)0x1234567890) return 1;
  const launched one = {{a, b, c, d, e, f, shared}, *(int **)arguments[0], *(int *)arguments[1]};
  snprintf(said, sizeof said, "%u %u %u %u %u %u %u", a, b, c, d, e, f, shared);
  if (capturing) graph.push_back(one); else run(one);
  return 0;
}
int hipModuleUnload(void *) { return 0; }
int hipEventCreateWithFlags(void **event, unsigned) {
  static char events[100], *next = events;
  *event = next++;
  return 0;
}
int hipEventRecord(void *, void *) { return capturing; }
int hipEventSynchronize(void *) { return 0; }
int hipEventElapsedTime(float *milliseconds, void *begun, void *ended) { *milliseconds = 2.5f; return begun == ended; }
int hipEventDestroy(void *) { return 0; }
int hipStreamBeginCapture(void *, int mode) { capturing = true; return mode != 1; }
int hipStreamEndCapture(void *, void **to) { capturing = false; *to = &graph; return 0; }
int hipGraphInstantiate(void **to, void *from, void **, char *, size_t size) { *to = from; return size != 0; }
int hipGraphDestroy(void *) { return 0; }
int hipGraphLaunch(void *, void *) { for (const launched &one : graph) run(one); return 0; }
int hipGraphExecDestroy(void *) { return 0; }
const char *last() { return said; }
void fail(int status) { failing = status; }
}
"""
BINARY = Binary("add", "hip:gfx942", b"hsaco", (("to_ptr", "*i32"), ("number", "i32")), Resources(256, 32, 64), 64)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hip")
    (folder / "hip.cpp").write_text(LIBRARY)
    compiler = shutil.which("g++") or shutil.which("clang++")
    assert compiler
    command = [compiler, "-shared", "-fPIC", str(folder / "hip.cpp"), "-o", str(folder / "libamdhip64.so.6")]
    subprocess.run(command, check=True)
    return folder / "libamdhip64.so.6"


@pytest.fixture
def driver(library: Path, monkeypatch: pytest.MonkeyPatch) -> HipDriver:
    # Whoever has it loaded, it is found among what this process has loaded.
    ctypes.CDLL(str(library)).fail(0)
    return HipDriver()


def test_a_launch_hands_over_grid_threads_memory_and_arguments(driver: HipDriver) -> None:
    to = ctypes.c_int(5)
    _, array = packed(BINARY, {"to_ptr": "to", "number": 3}, {"to": ctypes.addressof(to)})
    function = driver.function(BINARY)
    function.launch((7, 3), array)
    driver.wait()
    assert to.value == 8
    last = driver.api.last
    last.restype = ctypes.c_char_p
    assert last() == b"7 3 1 256 1 1 64"
    function.close()


def test_a_graph_is_replayed_between_two_events(driver: HipDriver) -> None:
    to = ctypes.c_int(0)
    _, array = packed(BINARY, {"to_ptr": "to", "number": 1}, {"to": ctypes.addressof(to)})
    function = driver.function(BINARY)
    graph = driver.graph([lambda: function.launch((1,), array)] * 4)
    assert to.value == 0
    assert graph.seconds() == 2.5e-3
    assert to.value == 4
    graph.close()


def test_memory_is_overwritten(driver: HipDriver) -> None:
    memory = ctypes.create_string_buffer(b"abcd", 4)
    driver.clear(ctypes.addressof(memory), 3)
    assert memory.raw == b"\0\0\0d"


def test_a_refusal_is_told_and_a_broken_context_is_another_thing(driver: HipDriver) -> None:
    with pytest.raises(TunerError, match="hipModuleLoadData: refused"):
        driver.function(Binary("add", "hip:gfx942", b"ELF..", (), Resources(256, 32, 0)))
    driver.api.fail(700)
    with pytest.raises(PoisonedDeviceError, match="hipStreamSynchronize: illegal address"):
        driver.wait()
    driver.api.fail(0)


def test_without_rocm_there_is_nothing_to_launch_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "maps").write_text("7f0 r-xp 00000000 00:00 0  /usr/lib/libc.so.6\n")
    monkeypatch.setattr(hip, "_MAPS", tmp_path / "maps")
    with pytest.raises(MissingDependencyError, match="PyTorch for ROCm"):
        HipDriver()
    with pytest.raises(TunerError, match="is not for ROCm; compile for one without it"):
        detect_gpu("hip")


def test_a_gpu_of_amds_is_told_by_torch_and_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    told = SimpleNamespace(
        name="AMD Instinct MI300X",
        gcnArchName="gfx942:sramecc+:xnack-",
        multi_processor_count=304,
        L2_cache_size=4 << 20,
        total_memory=192 << 30,
    )
    monkeypatch.setattr(torch.version, "hip", "6.4.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: told)
    device = detect_gpu("hip")
    assert (device.kind, device.name, device.arch) == ("hip", "AMD Instinct MI300X", "gfx942")
    assert limits_of(device).warp_threads == 64
    told.gcnArchName = "gfx1100"
    with pytest.raises(TunerError, match=r"limits of AMD Instinct MI300X \(gfx1100\) are not known"):
        detect_gpu("hip")

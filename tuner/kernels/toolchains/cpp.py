"""C++ kernels on a CPU: compiled by the system's compiler, loaded with ctypes, timed by a loop in C."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tuner.errors import BuildError, MissingDependencyError
from tuner.kernels.base import Kernel, Operator
from tuner.kernels.check import Arguments
from tuner.kernels.clock import Elapsed
from tuner.kernels.option import without_options
from tuner.search_spaces import Constraint, Parameter, SearchSpace
from tuner.types import Artifact, Config, Device, Scalar, Workload, digest

__all__ = ["INCLUDE", "CppKernel", "CppLauncher", "thread_parameters"]

INCLUDE = Path(__file__).parent / "include"
"""Folder of the headers that every kernel may include."""

# -ffast-math is not among them: a library built with it sets flush-to-zero for the whole process when it is loaded.
_FLAGS = (
    "-std=c++17",
    "-O3",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-freciprocal-math",
    # What would catch an exception is in the C++ library, which takes a while to link.
    "-fno-exceptions",
    "-Wno-psabi",
)
_COMPILERS = ("g++", "clang++")
# Linking the C++ library takes a tenth to a sixth of a compile, and few kernels need it: these are tried first.
_LEAN = ("-nodefaultlibs", "-lm", "-lc", "-lgcc", "-Wl,-z,defs")
# What a compiler says of a mistake in a source, where a linker names a file without a line.
_IN_SOURCE = re.compile(r":\d+:\d+: (fatal )?error: ")
_OPENMP = "-fopenmp"
_INCLUDED = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
# Long enough to hold a template error's cause, short enough for a table.
_ERROR_LINES = 6

# Its own names are in lower case: the macros of workload and parameters are in capitals, and may be single letters.
# Macros are capitals, so every name here is lower case: a workload field N must not meet a template parameter N.
_HARNESS = """\
#include <time.h>
#include {source}
// Optimising what follows would take a tenth of a small kernel's compile.
#if defined(__clang__)
#pragma clang optimize off
#else
#pragma GCC optimize("O0")
#endif
namespace tuner_harness {{
template <int... index> struct indices {{}};
template <int count, int... index> struct upto : upto<count - 1, count - 1, index...> {{}};
template <int... index> struct upto<0, index...> {{ using type = indices<index...>; }};
template <class... argument, int... index>
void repeat(void (*call)(argument...), void *const *arguments, long calls, indices<index...>) {{
  for (long i = 0; i < calls; ++i) call(static_cast<argument>(arguments[index])...);
}}
template <class... argument> void run(void (*call)(argument...), void *const *arguments, long calls) {{
  repeat(call, arguments, calls, typename upto<sizeof...(argument)>::type{{}});
}}
template <class... argument> constexpr int arity(void (*)(argument...)) {{ return sizeof...(argument); }}
}}
extern "C" int tuner_arity() {{ return tuner_harness::arity(kernel); }}
// Seconds on the wall, and for which this thread had a core.
extern "C" void tuner_run(void *const *arguments, long calls, double *elapsed) {{
  constexpr clockid_t clocks[] = {{CLOCK_MONOTONIC, CLOCK_THREAD_CPUTIME_ID}};
  timespec start[2], stop[2];
  for (int i = 0; i < 2; ++i) clock_gettime(clocks[i], &start[i]);
  tuner_harness::run(kernel, arguments, calls);
  for (int i = 1; i >= 0; --i) clock_gettime(clocks[i], &stop[i]);
  for (int i = 0; i < 2; ++i)
    elapsed[i] = double(stop[i].tv_sec - start[i].tv_sec) + 1e-9 * double(stop[i].tv_nsec - start[i].tv_nsec);
}}
// Throws some bytes out of all caches; 0 where no instruction does that.
extern "C" int tuner_evict(const char *from, long bytes) {{
#if defined(__x86_64__)
  for (long at = 0; at < bytes; at += 64) __builtin_ia32_clflush(from + at);
  if (bytes) __builtin_ia32_clflush(from + bytes - 1);
  __builtin_ia32_mfence();
  return 1;
#elif defined(__aarch64__)
  for (long at = 0; at < bytes; at += 16) asm volatile("dc civac, %0" ::"r"(from + at) : "memory");
  asm volatile("dsb ish" ::: "memory");
  return 1;
#else
  return 0;
#endif
}}
"""


def thread_parameters(device: Device) -> list[Parameter]:
    """Return the parameters of a kernel whose outer loop is `parallel` of the header `parallel.hpp`; one core has none.

    By default every core takes an equal part.
    """
    if device.count == 1:
        return []
    return [
        Parameter.integer("THREADS", 1, device.count, default=device.count),
        Parameter.categorical("SCHEDULE", ("static", "dynamic"), when=Constraint.parse("THREADS > 1")),
    ]


class CppLauncher:
    """A shared library in this process, called with the addresses of its arguments.

    Attributes:
        function: The kernel itself, for code that embeds it: takes one address an argument, inputs first.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._run = library.tuner_run
        self._run.restype = None
        self._run.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p]
        self._elapsed = (ctypes.c_double * 2)()
        self._evict = library.tuner_evict
        self._evict.argtypes = [ctypes.c_void_p, ctypes.c_long]
        self._arity: int = library.tuner_arity()
        self._addresses = ctypes.c_void_p * self._arity
        self.function = library.kernel
        self.function.restype = None
        self.function.argtypes = [ctypes.c_void_p] * self._arity

    def call(self, arguments: Arguments) -> None:
        """Run the kernel once."""
        self.time(arguments, 1)

    def time(self, arguments: Arguments, calls: int) -> Elapsed:
        """Return the seconds of `calls` consecutive calls, by clocks that are read in C around the loop."""
        pointers = arguments.pointers
        if len(pointers) != self._arity:
            raise TypeError(f"kernel takes {self._arity} arguments, but the operator gives {len(pointers)}")
        self._run(self._addresses(*pointers), calls, self._elapsed)
        return Elapsed(*self._elapsed)

    def evict(self, arguments: Arguments) -> None:
        """Throw the arguments out of all caches; what a kernel keeps for itself stays where it is.

        Raises:
            OSError: the CPU has no instruction for that.
        """
        for array in (*arguments.inputs.values(), *arguments.outputs.values()):
            if not self._evict(array.ctypes.data, array.nbytes):
                raise OSError("this CPU has no instruction that empties caches; leave cache=cold away")


class CppKernel(Kernel):
    """A kernel in one `.cpp` file, with its parameters and its workload as macros.

    The file defines `extern "C" void kernel(const T *input..., T *output...)`, with the operator's inputs and outputs
    in order. Each parameter and each workload field is a macro of its name in capitals; true is 1, and text stands as
    it is, so that `KV_DTYPE=bf16` can name a type of the header `vec.hpp`. Every pointer is aligned to 64 bytes. Where
    the parameter `THREADS` is above 1, the compiler is given OpenMP.

    Args:
        operator: What the kernel computes.
        source: The `.cpp` file.
        space: The search space, or a function of workload and device that returns it.
        flags: From a config to additional compiler flags.
    """

    device_kinds = ("cpu",)

    def __init__(
        self,
        operator: Operator,
        source: Path,
        space: SearchSpace | Callable[[Workload, Device], SearchSpace],
        flags: Callable[[Config], Sequence[str]] = lambda _: (),
    ) -> None:
        super().__init__(operator, space)
        self.source = source
        self._flags = flags

    @property
    def version(self) -> str:
        """Hash of the source, what it includes, and the Python files of the operator and the space, as they are now."""
        functions = (self.operator.inputs, self.operator.reference, self.operator.outputs, self._space, self._flags)
        python = {inspect.getsourcefile(f) for f in functions if inspect.isfunction(f)}
        files = [*_sources(self.source), *sorted(Path(file) for file in python if file)]
        space = self._space.fingerprint if isinstance(self._space, SearchSpace) else ""
        return digest([[hashlib.sha256(file.read_bytes()).hexdigest() for file in files], space])

    def environment(self) -> Mapping[str, str]:
        """Return the compiler and its version."""
        return {"compiler": _compiler()[1]}

    def flags(self, config: Config) -> list[str]:
        """Return the compiler flags of `config`, without its macros and the folder of headers."""
        threads = [_OPENMP] if config.get("THREADS", 1) != 1 else []
        return [*_FLAGS, *threads, *self._flags(config)]

    def build_key(self, config: Config, workload: Workload, device: Device) -> str:
        """Return the hash of compiler, flags, macros, source and headers; `-march=native` makes the CPU part of it."""
        texts = [file.read_text() for file in _sources(self.source)]
        flags = [*self.flags(config), *_macros(workload, config)]
        return digest([_compiler()[1], device.fingerprint, flags, texts, _HARNESS])

    def build(self, config: Config, workload: Workload, device: Device) -> Artifact:
        """Compile the source for `config` and `workload`; the payload is the shared library.

        Raises:
            BuildError: the compiler refused it.
            MissingDependencyError: there is no compiler.
        """
        compiler, _ = _compiler()
        with tempfile.TemporaryDirectory(prefix="tuner-") as folder:
            main, library = Path(folder, "main.cpp"), Path(folder, "kernel.so")
            main.write_text(_HARNESS.format(source=f'"{self.source.resolve()}"'))
            command = [compiler, *self.flags(config), *_macros(workload, config), f"-I{INCLUDE}"]
            command += [str(main), "-o", str(library)]
            lean = () if _OPENMP in command else _LEAN
            done = subprocess.run([*command, *lean], capture_output=True, text=True)
            if lean and done.returncode and not _IN_SOURCE.search(done.stderr):
                done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise BuildError(_first_errors(done.stderr) or f"{compiler} ended with status {done.returncode}")
            payload = library.read_bytes()
        key = self.build_key(config, workload, device)
        return Artifact(key, payload, {"code_bytes": len(payload)})

    def load(self, artifact: Artifact) -> CppLauncher:
        """Return the library, mapped into this process; its file is gone afterwards."""
        handle, path = tempfile.mkstemp(prefix="tuner-", suffix=".so")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(artifact.payload)
            return CppLauncher(ctypes.CDLL(path))
        finally:
            os.unlink(path)


@functools.cache
def _compiler() -> tuple[str, str]:
    """Return the path of the C++ compiler and its version line."""
    for name in _COMPILERS:
        if path := shutil.which(name):
            lines = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.splitlines()
            return path, lines[0] if lines else name
    raise MissingDependencyError(
        "no C++ compiler found (looked for g++ and clang++); install one, for example: apt-get install g++"
    )


def _sources(source: Path) -> list[Path]:
    """Return `source` and the files that it includes in quotes, directly or through each other."""
    found: list[Path] = []
    waiting = [source]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.append(file)
        for name in _INCLUDED.findall(file.read_text()):
            waiting += [path for path in (file.parent / name, INCLUDE / name) if path.is_file()][:1]
    return found


def _macros(workload: Workload, config: Config) -> list[str]:
    values: dict[str, Scalar] = {**without_options(workload), **config}
    return [f"-D{name.upper()}={int(v) if isinstance(v, bool) else v}" for name, v in sorted(values.items())]


def _first_errors(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line.lower()] or text.splitlines()
    return "\n".join(lines[:_ERROR_LINES])

"""Python sources of kernels, read without importing them: their functions' parameters, and the files they import."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from pathlib import Path

from tuner.errors import TunableError

__all__ = ["Parameter", "parameters_of", "sources_of"]

_ROOT = Path(__file__).parents[2]
_CONSTANT = "constexpr"
# Of this package's modules, those that hold functions for Triton.
_IMPORTS_TRITON = re.compile(r"^import triton\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a function.

    Attributes:
        name: Its name.
        constant: Whether it is known when the function is compiled.
        optional: Whether it has a default.
    """

    name: str
    constant: bool
    optional: bool


def parameters_of(source: Path, entry: str) -> tuple[Parameter, ...]:
    """Return the parameters of a function of a Python file.

    Raises:
        TunableError: the file cannot be parsed, or has no such function.
    """
    functions = _functions(source.read_text(), str(source))
    if entry not in functions:
        raise TunableError(f"{source} has no function {entry!r}; it has: {', '.join(functions) or 'none'}")
    return functions[entry]


@functools.lru_cache(maxsize=64)
def _functions(text: str, name: str) -> dict[str, tuple[Parameter, ...]]:
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise TunableError(f"SyntaxError: {error.msg} ({name}, line {error.lineno})") from error
    return {node.name: _parameters(node) for node in tree.body if isinstance(node, ast.FunctionDef)}


def _parameters(function: ast.FunctionDef) -> tuple[Parameter, ...]:
    arguments = function.args.posonlyargs + function.args.args
    plain = len(arguments) - len(function.args.defaults)
    found = [_parameter(one, position >= plain) for position, one in enumerate(arguments)]
    pairs = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    return (*found, *(_parameter(one, default is not None) for one, default in pairs))


def _parameter(argument: ast.arg, optional: bool) -> Parameter:
    annotation = ast.unparse(argument.annotation) if argument.annotation else ""
    return Parameter(argument.arg, annotation.rpartition(".")[2] == _CONSTANT, optional)


def sources_of(source: Path) -> list[Path]:
    """Return `source` and the Python files that it imports from beside itself or from this package, or through them."""
    found: list[Path] = []
    waiting = [source.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.append(file)
            waiting += _imported(file)
    return sorted(found)


def _imported(file: Path) -> tuple[Path, ...]:
    status = file.stat()
    return _imported_by(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _imported_by(file: Path, _: int, __: int) -> tuple[Path, ...]:
    """Return what a file imports; the time and size at which it was written tell versions apart."""
    try:
        tree = ast.parse(file.read_text())
    except SyntaxError as error:
        raise TunableError(f"SyntaxError: {error.msg} ({file}, line {error.lineno})") from error
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    # Only what stands alone imports what lies beside it; in a package, `triton` is not the `triton.py` of its folder.
    alone = not (file.parent / "__init__.py").exists()
    beside = [file.parent / f"{name}.py" for name in names if alone and "." not in name]
    ours = [_ROOT.parent / f"{name.replace('.', '/')}.py" for name in names if name.startswith("tuner.kernels.")]
    ours = [path for path in ours if path.is_file() and _IMPORTS_TRITON.search(path.read_text())]
    return tuple(path.resolve() for path in (*beside, *ours) if path.is_file())

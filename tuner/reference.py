"""How `module:attribute` and `path/to/file.py:attribute` become an object, in this process and in workers alike."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tuner.errors import TunerError

__all__ = ["FILE_MODULE", "import_file", "import_reference", "is_reference"]

FILE_MODULE = "_tuner_file_"
"""What the names of modules that were imported from a file begin with."""


def is_reference(name: str) -> bool:
    """Return whether `name` is a reference rather than the name of something installed, perhaps with a variant.

    Example:
        >>> [is_reference(name) for name in ("own_agent.py:Climber", "my.agents:Climber", "optuna:gp", "random")]
        [True, True, False, False]
    """
    head, colon, attribute = name.rpartition(":")
    return bool(colon and attribute.isidentifier()) and (head.endswith(".py") or "." in head)


def import_reference(reference: str) -> object:
    """Return what `module:attribute` or `path/to/file.py:attribute` names.

    A file may import what lies beside it, as a script does.

    Raises:
        TunerError: it cannot be found or imported; the message says where it failed.
    """
    head, _, attribute = reference.rpartition(":")
    try:
        module = import_file(Path(head)) if head.endswith(".py") else importlib.import_module(head)
    except TunerError:
        raise
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{head}.".startswith(f"{error.name}."):
            raise TunerError(f"{reference}: there is no module {head}") from error
        raise TunerError(f"{reference}: {_where(error)}") from error
    if not hasattr(module, attribute):
        raise TunerError(f"{head} has no attribute {attribute!r}")
    return getattr(module, attribute)


def import_file(path: Path) -> ModuleType:
    """Return the module of a Python file, imported under a name of its own; a second call returns the same.

    Raises:
        TunerError: there is no such file, or it is no Python file.
    """
    path = path.resolve()
    if not path.is_file():
        raise TunerError(f"no such file: {path}")
    # A name of its own for each path, so that two files called kernel.py do not replace each other.
    name = f"{FILE_MODULE}{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TunerError(f"{path} is not a Python file")
    # As a script would, it may import what lies beside it. In a package, what lies beside it must not be found: a
    # `cuda.py` there would hide the package `cuda`, which has no file of its own.
    if str(path.parent) not in sys.path and not (path.parent / "__init__.py").exists():
        sys.path.append(str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _where(error: Exception) -> str:
    """Return `error` in one line, with the last place of its traceback."""
    place = ""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
        return f"SyntaxError: {error.msg}{place}"
    if trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
    return f"{type(error).__name__}: {error}{place}"

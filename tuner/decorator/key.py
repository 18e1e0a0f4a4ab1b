"""How the arguments of a call become the fields of a workload."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any

from tuner.errors import TunerError
from tuner.types import Scalar

__all__ = ["Key", "dtype_name"]

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "float64": "fp64", "float8_e4m3fn": "fp8"}
_DTYPE = ".dtype"


def dtype_name(dtype: object) -> str:
    """Return the name that workloads have for a dtype of torch, numpy or anybody.

    Example:
        >>> import numpy as np
        >>> dtype_name(np.dtype("float32")), dtype_name("torch.bfloat16"), dtype_name(np.dtype("int8"))
        ('fp32', 'bf16', 'int8')
    """
    name = str(dtype).rpartition(".")[2]
    return _DTYPES.get(name, name)


class Key:
    """Reads a workload off the arguments of a call.

    Args:
        fields: The workload's fields: names of arguments (`M`), of attributes of arguments (`a_ptr.dtype`), or a
            mapping from the field to such a name.
        names: The function's arguments in order.
        defaults: What arguments are that a call leaves out.

    Raises:
        TunerError: a name is not an argument.

    Example:
        >>> key = Key({"M": "rows", "dtype": "x.dtype"}, ["x", "rows"])
        >>> import numpy as np
        >>> key.fields((np.zeros(4, dtype="float16"), 4), {})
        {'M': 4, 'dtype': 'fp16'}
    """

    def __init__(
        self,
        fields: Sequence[str] | Mapping[str, str],
        names: Sequence[str],
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(fields, str):
            raise TunerError(f"key={fields!r} is a text; give a list of names: key=[{fields!r}]")
        paths = fields if isinstance(fields, Mapping) else {name: name for name in fields}
        unknown = sorted({path.partition(".")[0] for path in paths.values()} - set(names))
        if unknown:
            raise TunerError(f"key names {', '.join(unknown)}; the function's arguments are {', '.join(names)}")
        self.names = tuple(paths)
        self._paths = dict(paths)
        self._arguments = tuple(names)
        self._defaults = dict(defaults or {})
        self._dtypes: dict[object, str] = {}
        self._places = [names.index(path.partition(".")[0]) for path in paths.values()]
        self._last = max(self._places, default=-1)
        readers = [_reader(path, self._dtypes) for path in paths.values()]
        self._readers = [(at, reader) for at, reader in enumerate(readers) if reader is not None]
        self._pick = _picking(self._places)
        plain = [place for place, path in zip(self._places, paths.values(), strict=True) if "." not in path]
        self._plain = _picking(plain)
        self._attributes = [
            (place, attrgetter(path.partition(".")[2]))
            for place, path in zip(self._places, paths.values(), strict=True)
            if "." in path
        ]

    def fields(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Scalar]:
        """Return the fields of a call's workload.

        Raises:
            TunerError: an argument is not given, or lacks the attribute.
        """
        if len(args) > self._last:
            values: Sequence[Any] = self._pick(args)
        else:
            values = self._by_name(args, kwargs)
        if self._readers:
            values = list(values)
            for at, reader in self._readers:
                values[at] = reader(values[at])
        return dict(zip(self.names, values, strict=True))

    def quick(self, args: Sequence[Any]) -> tuple[Any, ...] | None:
        """Return what is different for different workloads, quicker than `fields`; None where it takes names.

        Raises:
            AttributeError: an argument lacks what is read from it; `fields` may know better.
        """
        if len(args) <= self._last:
            return None
        values = self._plain(args)
        # The types, since 1 == True == 1.0.
        return (*values, *map(type, values), *[get(args[place]) for place, get in self._attributes])

    def with_dtypes(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Key:
        """Return a key that also reads the dtypes of all tensors among these arguments, as Triton's own does."""
        given = {**dict(zip(self._arguments, args, strict=False)), **kwargs}
        tensors = [name for name, argument in given.items() if name in self._arguments and hasattr(argument, "dtype")]
        paths = {f"{name}{_DTYPE}": f"{name}{_DTYPE}" for name in sorted(tensors)}
        return Key({**paths, **self._paths}, self._arguments, self._defaults)

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
        given = {**self._defaults, **dict(zip(self._arguments, args, strict=False)), **kwargs}
        missing = [self._arguments[at] for at in self._places if self._arguments[at] not in given]
        if missing:
            raise TunerError(f"the call lacks {', '.join(missing)}, which its workload is read from")
        return [given[self._arguments[at]] for at in self._places]


def _picking(places: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Return what picks some places of a sequence, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    if not places:
        return lambda _: ()
    place = places[0]
    return lambda values: (values[place],)


def _reader(path: str, dtypes: dict[object, str]) -> Callable[[Any], Any] | None:
    """Return how a value is read off an argument; None where it is the argument itself."""
    _, dot, attribute = path.partition(".")
    if not dot:
        return None
    if attribute != "dtype":
        return attrgetter(attribute)

    def dtype(argument: Any) -> str:
        # A tensor may be left out of a call: None has no dtype.
        found = getattr(argument, "dtype", None)
        name = dtypes.get(found)
        if name is None:
            name = dtypes[found] = dtype_name(found)
        return name

    return dtype

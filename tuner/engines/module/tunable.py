"""A module of torch as a tunable, served by one library or by the best of several."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from tuner.engines.base import Engine, EngineParameter, EngineTunable
from tuner.engines.memory import available_memory_bytes
from tuner.engines.module.catalogue import CATALOGUE, Example, model_digest, model_reference
from tuner.engines.module.engine import ModuleEngine
from tuner.engines.module.option import LIBRARIES, WEIGHTS, Problem, constraints, libraries_installed, parameters
from tuner.errors import MissingDependencyError, WorkloadError
from tuner.search_spaces import Constraint
from tuner.types import Config, Device, Scalar, Work, Workload, digest

__all__ = ["ModuleTunable"]

_FIELDS = ("model", "digest", "items", "batch")
_NAMED = ("decoder-30m", "image-classifier")


class ModuleTunable(EngineTunable):
    """An engine that serves a module: its workload names the model, and says how many items a window has.

    A workload's fields are `model` (a name of the catalogue, or `path/to/file.py:factory`), `items` of a window,
    `batch`, what the default config serves at once, and `digest` of the model's source, which is filled in.

    Args:
        name: What it is called.
        engines: The libraries that it may use; empty for all that are installed, of which `ENGINE` chooses one.

    Example:
        >>> engine = ModuleTunable("torch", ("torch",))
        >>> dict(engine.workload({"model": "decoder-tiny", "items": 8}))["batch"]
        4
        >>> from tuner.devices import detect
        >>> engine.default(engine.workloads["decoder-30m"], detect("cpu"))["DTYPE"]
        'fp32'
    """

    trial_windows = 6
    final_windows = 24

    def __init__(self, name: str, engines: Sequence[str] = ()) -> None:
        super().__init__()
        self.name = name
        self._engines = tuple(engines)
        # Only torch itself is served on GPUs here.
        self.device_kinds = ("cpu", "cuda") if self._engines == ("torch",) else ("cpu",)

    @property
    def version(self) -> str:
        """Hash of the sources beside this one."""
        files = sorted(Path(__file__).parent.glob("*.py"))
        return digest([self.name, *(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)])

    @property
    def workloads(self) -> Mapping[str, Workload]:
        """The models that come with tuner."""
        return MappingProxyType({name: self.workload({"model": name}) for name in _NAMED})

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the checked workload, with the digest of the model's source.

        Raises:
            WorkloadError: a field is missing, unknown or not taken, or the source is not the one of the digest.
        """
        if unknown := [name for name in fields if name not in _FIELDS]:
            raise WorkloadError(f"{self.name} has no workload field {unknown[0]!r}; it has: {', '.join(_FIELDS)}")
        model = fields.get("model")
        if not isinstance(model, str):
            raise WorkloadError(
                f"{self.name} needs the workload field 'model'; give model=NAME, one of {', '.join(CATALOGUE)}, or "
                "path/to/file.py:factory"
            )
        reference = model_reference(model)
        now = model_digest(reference)
        if fields.get("digest", now) != now:
            raise WorkloadError(f"model {model} is not what it was: its digest is {now}, not {fields['digest']}")
        example = _example(model)
        items = _count("items", fields.get("items", example.items))
        batch = _count("batch", fields.get("batch", min(example.batch, items)))
        if items % batch:
            raise WorkloadError(f"items={items} is not a multiple of batch={batch}; a window has whole batches")
        return Workload(model=model if model in CATALOGUE else reference, digest=now, items=items, batch=batch)

    def environment(self) -> Mapping[str, str]:
        """Return the versions of the libraries.

        Raises:
            MissingDependencyError: one is not installed.
        """
        packages = list(dict.fromkeys(one for engine in self._served() for one in LIBRARIES[engine]))
        if missing := [one for one in packages if importlib.util.find_spec(one) is None]:
            raise MissingDependencyError(
                f"engine {self.name!r} needs {', '.join(missing)}; pip install 'rltuner[engines]'"
            )
        if "openvino" in self._served() and importlib.util.find_spec(WEIGHTS) is not None:
            packages.append(WEIGHTS)
        return {one: version(one) for one in packages}

    def parameters(self, workload: Workload, device: Device) -> Sequence[EngineParameter]:
        """Return what can be set, and how."""
        return parameters(self._served(), _problem(workload), device)

    def left_out(self, workload: Workload, device: Device) -> Sequence[str]:
        """Return which values a package is missing for."""
        if "openvino" in self._served() and importlib.util.find_spec(WEIGHTS) is None:
            return [f"OV_WEIGHTS=int8 needs {WEIGHTS}; pip install 'rltuner[engines]'"]
        return ()

    def constraints(self, workload: Workload, device: Device) -> Iterable[Constraint]:
        """Return what goes together."""
        return constraints(self._served(), _problem(workload), device)

    def create(self, workload: Workload) -> Engine:
        """Return an engine that has not been started."""
        return ModuleEngine(workload, model_reference(workload.text("model")), self._served()[0])

    def fits(self, config: Config, workload: Workload) -> bool:
        """Return whether there is memory for one more of what runs: the most that any has taken so far."""
        taken = [seat.engine.resources().get("peak_memory_bytes", 0) for seat in self._seats]
        most = max((one for one in taken if isinstance(one, int)), default=0)
        replicas = config.integer("REPLICAS") if "REPLICAS" in config else 1
        return most * replicas <= available_memory_bytes()

    def work(self, workload: Workload) -> Work:
        """Return the work of one item, of which a batch shares the weights; none where the model is not ours."""
        example = _example(workload.text("model"))
        return Work(example.flops, example.weights_bytes / workload.integer("batch"))

    def _served(self) -> Sequence[str]:
        return self._engines or libraries_installed() or ("torch",)


def _example(model: str) -> Example:
    return CATALOGUE.get(model, Example(model))


def _problem(workload: Workload) -> Problem:
    example = _example(workload.text("model"))
    return Problem(workload.integer("items"), workload.integer("batch"), example.convolutions, example.attention)


def _count(name: str, value: Scalar) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise WorkloadError(f"{name}={value!r} is not a positive integer")
    return value

"""Guards of tunables: what loads a kernel, with its search space, and so is not light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.errors import MissingDependencyError, TunableError
from tuner.search_spaces import SearchSpace
from tuner.tunable import Tunable, load
from tuner.types import Config, Device, Scalar, Workload

__all__ = ["TunableGuard", "guard_of"]


@dataclass(frozen=True, slots=True)
class TunableGuard:
    """Asks the tunable itself. It constructs a search space for each workload, which takes 20 to 40 microseconds.

    What spaces are counted and sampled by is not made for that. The last one is kept, since several near configs are
    tried for a workload.

    Attributes:
        tunable: The tunable.
        device: The device to ask for.
        environment: The versions here of the tunable's tools; none where they are not installed.
    """

    tunable: Tunable
    device: Device
    environment: Mapping[str, str] = field(default_factory=dict)
    _last: list[tuple[Workload, SearchSpace]] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def version(self) -> str:
        """The tunable's version."""
        return self.tunable.version

    def workload(self, fields: Mapping[str, Scalar]) -> Workload:
        """Return the whole workload.

        Raises:
            WorkloadError: it is none of this tunable.
        """
        return self.tunable.workload(fields)

    def default(self, workload: Workload) -> Config:
        """Return the tunable's default."""
        return self.tunable.default(workload, self.device)

    def allows(self, config: Config, workload: Workload) -> bool:
        """Return whether `config` is in the search space of `workload`."""
        # Replaced as a whole, so that threads find a pair that belongs together, whosever it is.
        for known, space in self._last[:1]:
            if known is workload:
                return space.contains(config)
        space = self.tunable.search_space(workload, self.device)
        self._last[:] = [(workload, space)]
        return space.contains(config)


def guard_of(kernel: str | Tunable, device: Device) -> TunableGuard:
    """Return the guard of a tunable, or of what a reference names.

    Raises:
        TunableError: it cannot be loaded, or does not run on the device.
    """
    tunable = load(kernel) if isinstance(kernel, str) else kernel
    if device.kind not in tunable.device_kinds:
        kinds = ", ".join(tunable.device_kinds)
        raise TunableError(f"{kernel} does not run on {device.kind}; it runs on: {kinds}")
    try:
        environment = tunable.environment()
    except MissingDependencyError:
        environment = {}
    return TunableGuard(tunable, device, environment)

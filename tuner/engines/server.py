"""Engines that are servers: one config, one process, which answers traffic that comes over HTTP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuner.engines.base import Applied, Engine, EngineError, EngineTunable, Window
from tuner.engines.client import Prompts, Served, Target, serve_window
from tuner.engines.energy import EnergyMeter
from tuner.engines.memory import available_memory_bytes
from tuner.engines.process import ServerCommand, ServerProcess, Usage
from tuner.engines.sample import MeasuredWindow, resources, samples
from tuner.engines.served import profiles_of
from tuner.engines.traffic import Profile
from tuner.types import Config, Scalar, Workload

__all__ = ["Launch", "ServerEngine", "ServerTunable"]

_WARM_SECONDS = 120.0
# A seed that no measurement has: those are below 2**63.
_WARM_SEED = 2**63


@dataclass(frozen=True)
class Launch:
    """All that it takes to start a server and to talk to it.

    Attributes:
        command: How it is started.
        model: The model's name in requests.
        prompts: How prompts are made.
        extra: What else requests say.
        deadline_seconds: How long a start may take.
        memory_bytes: What it will need of the machine's memory, as far as is known; 0 if nothing is.
        devices: How many GPUs it uses, whose energy is read; 0 on a CPU.
    """

    command: ServerCommand
    model: str
    prompts: Prompts = field(default_factory=Prompts)
    extra: Mapping[str, Any] = field(default_factory=dict)
    deadline_seconds: float = 300.0
    memory_bytes: int = 0
    devices: int = 0


class ServerEngine(Engine):
    """A server that is started anew for each config, since servers take theirs from the command line.

    Args:
        launch: Turns a config into what is started.
        profiles: The traffic.

    Example:
        >>> import sys
        >>> from tuner.engines.traffic import Traffic
        >>> words = (sys.executable, "-m", "tuner.testing.openai_server", "--port", "{port}")
        >>> traffic = Profile("few", Traffic(concurrency=2, seconds=0.1, output_tokens=2))
        >>> engine = ServerEngine(lambda config: Launch(ServerCommand(words), "fake"), [traffic])
        >>> engine.apply(Config()).value
        'start'
        >>> engine.measure(Window(seed=1))["goodput_per_second"][0] > 0
        True
        >>> engine.close()
    """

    def __init__(self, launch: Callable[[Config], Launch], profiles: Sequence[Profile]) -> None:
        self._launch_of = launch
        self._profiles = tuple(profiles)
        self._server: ServerProcess | None = None
        self._launch: Launch | None = None
        self._meter: EnergyMeter | None = None
        self._windows: list[MeasuredWindow] = []
        self._is_warm = False
        self._start_seconds = 0.0

    def apply(self, config: Config) -> Applied:
        """Have a server of this config: the one that is up, if it is one, and is well, or a new one."""
        launch = self._launch_of(config)
        is_same = self._launch is not None and self._launch.command == launch.command
        if is_same and self._server is not None and not self._server.failure():
            return Applied.REUSE
        self.close()
        free = available_memory_bytes()
        if launch.memory_bytes > free:
            raise EngineError(
                f"needs {launch.memory_bytes / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; "
                "give the KV cache less, or use fewer replicas"
            )
        server = ServerProcess(launch.command, deadline_seconds=launch.deadline_seconds)
        server.start()
        self._server, self._launch = server, launch
        self._start_seconds, self._windows, self._is_warm = server.start_seconds, [], False
        self._meter = EnergyMeter(range(launch.devices))
        return Applied.START

    def measure(self, window: Window) -> Mapping[str, tuple[float, ...]]:
        """Serve one window of each profile; see `tuner.engines.sample.samples`.

        Before a server's first window come a few requests that nobody looks at.
        """
        assert self._server is not None, "apply comes first"
        if not self._is_warm:
            self._warm_up()
        measured = [self._measured(profile, window) for profile in self._profiles]
        self._windows += measured
        return samples(measured)

    def resources(self) -> Mapping[str, Scalar]:
        """Return the start's time, the share of failed requests, the most memory, and how many devices are in use."""
        found: dict[str, Scalar] = {"start_seconds": self._start_seconds, **resources(self._windows)}
        if self._launch is not None and self._launch.devices:
            found["devices"] = self._launch.devices
        return found

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.stop()
        self._server = self._launch = self._meter = None

    def _measured(self, profile: Profile, window: Window) -> MeasuredWindow:
        assert self._server is not None, "apply comes first"
        assert self._meter is not None, "apply comes first"
        before, joules = self._server.usage(), self._meter.joules()
        served = self._serve(profile, window)
        after, more = self._server.usage(), self._meter.joules()
        # Processes that ended take their account along.
        used = Usage(max(0.0, after.cpu_seconds - before.cpu_seconds), after.memory_bytes)
        energy = more - joules if more is not None and joules is not None else None
        self._refuse_dead(served)
        return MeasuredWindow(profile.share, profile.traffic.limits, served, used, energy)

    def _warm_up(self) -> None:
        """Send as many requests as may be in flight at once: what is compiled or laid out lazily then is."""
        for profile in self._profiles:
            traffic = replace(profile.traffic, timeout_seconds=_WARM_SECONDS)
            most = traffic.concurrency if traffic.is_closed_loop else 8
            served = self._serve(replace(profile, traffic=traffic), Window(_WARM_SEED), most_requests=most)
            self._refuse_dead(served)
        self._is_warm = True

    def _serve(self, profile: Profile, window: Window, *, most_requests: int | None = None) -> Served:
        assert self._server is not None, "apply comes first"
        assert self._launch is not None, "apply comes first"
        target = Target(self._server.url, self._launch.model, self._launch.prompts, self._launch.extra)
        return serve_window(target, profile.traffic, window, most_requests=most_requests)

    def _refuse_dead(self, served: Served) -> None:
        """Raise where requests failed because the server did: then the window says nothing of the config's speed."""
        if served.errors and self._server is not None and (failure := self._server.failure()):
            raise EngineError(failure)


class ServerTunable(EngineTunable):
    """What tunables share whose engines are servers, under the traffic that their workloads say."""

    device_kinds = ("cpu", "cuda", "hip")
    longest_seconds = 1800.0
    final_windows = 8
    # Which models there are, and what they meet, is the users' alone.
    workloads: Mapping[str, Workload] = {}

    @abstractmethod
    def launch(self, config: Config, workload: Workload) -> Launch:
        """Return what is started for `config`."""

    @abstractmethod
    def serve_command(self, config: Config, workload: Workload) -> str:
        """Return the command line with which people serve `config`."""

    def serve_yaml(self, config: Config, workload: Workload) -> str:
        """Return the same as a file that the engine reads; empty where it reads none."""
        return ""

    def create(self, workload: Workload) -> Engine:
        """Return an engine that has not been started."""
        return ServerEngine(lambda config: self.launch(config, workload), profiles_of(workload))

    def fits(self, config: Config, workload: Workload) -> bool:
        """Return whether there is memory for this config's server beside those that are up."""
        return self.launch(config, workload).memory_bytes <= available_memory_bytes()

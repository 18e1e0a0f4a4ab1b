"""Winners that tests write, and what they compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tuner.db.exchange import Finding, Format, Request, Selection
from tuner.types import Config, Device, Evidence, State, Task, Winner, Workload

DEVICE = Device(kind="cuda", name="NVIDIA H200", arch="sm_90", count=1, memory_bytes=0)


def winner_of(finding: Finding, number: int) -> Winner:
    """Return the winner that a store would keep of a finding."""
    evidence = Evidence.told(
        finding.origin.text,
        Config(),
        measured_at="2026-01-01T00:00:00+00:00",
        environment=finding.origin.versions,
        resources=dict(finding.details),
        config_seconds=finding.seconds or 0.0,
    )
    return Winner(finding.task, finding.config, evidence, State.CANDIDATE, id=number)


def winners_of(findings: Sequence[Finding]) -> list[Winner]:
    return [winner_of(finding, number) for number, finding in enumerate(findings, start=1)]


def winner(
    tunable: str,
    workload: Workload,
    config: Config,
    *,
    device: Device = DEVICE,
    seconds: float = 0.0,
    samples: tuple[float, ...] = (),
    environment: dict[str, str] | None = None,
    number: int = 1,
) -> Winner:
    evidence = Evidence(
        default=config,
        default_seconds=seconds,
        config_seconds=seconds,
        speedup=1.0,
        interval=(0.0, float("inf")),
        confidence=0.99,
        threshold=1.0,
        rounds=len(samples),
        seed=0,
        samples={"seconds": samples} if samples else {},
        resources={},
        environment=environment or {},
        measured_at="2026-01-01T00:00:00+00:00",
    )
    return Winner(Task(tunable, "1", workload, device), config, evidence, State.PROMOTED, id=number)


def told(findings: Sequence[Finding]) -> list[tuple[str, Workload, str, Config]]:
    """Return what a round trip has to keep."""
    return [(one.tunable, one.workload, one.device.name, one.config) for one in findings]


def again(form: Format, findings: Sequence[Finding], path: Path, request: Request | None = None) -> list[Finding]:
    """Return the findings after they were written as winners, and read again."""
    form.write(path, Selection(winners=winners_of(findings)))
    return list(form.read(path, request or Request()).findings)

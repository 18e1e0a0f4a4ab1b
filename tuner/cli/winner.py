"""`tuner winners|promote|quarantine|rollback|history`: what is served, what is not, and why."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from tuner.cli.options import AsJson, DeviceKind, Kernel, StoreUrl, Target, Words, WorkloadName, task_from
from tuner.cli.output import Output, config_text, seconds_text, workload_text
from tuner.cli.session import store_of
from tuner.db import Store
from tuner.errors import StoreError, TunerError
from tuner.tunable import is_named
from tuner.types import Evidence, State, Task, Winner

__all__ = ["register", "winner_json"]

_ALL = "all"

WinnerId = Annotated[int, typer.Argument(metavar="ID", help="A winner's identifier; see `tuner winners`.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the winner's history.")]
OfKernel = Annotated[str | None, typer.Argument(help="Only of this kernel, with or without its toolchain.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(winners)
    app.command()(promote)
    app.command()(quarantine)
    app.command()(rollback)
    app.command()(history)


def winners(
    kernel: OfKernel = None,
    state: Annotated[
        str, typer.Option(help="promoted, candidate, quarantined, retired, or all.")
    ] = State.PROMOTED.value,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """List winners, the newest first: those that are served, or others with --state."""
    output = Output(as_json=as_json)
    if state not in (_ALL, *State):
        raise TunerError(f"--state {state!r} is none of: {', '.join(State)}, {_ALL}")
    with store_of(store) as opened:
        found = [
            winner
            for winner in opened.winners(state=None if state == _ALL else State(state))
            if is_named(winner.task.tunable, kernel)
        ]
    output.table(
        ["id", "state", "kernel", "workload", "device", "speed-up", "config", "from", "when"],
        [
            [
                str(winner.id),
                winner.state.value,
                winner.task.tunable,
                workload_text(winner.task.workload),
                winner.task.device.name,
                _speedup_text(winner.evidence),
                config_text(winner.config),
                _origin_text(winner),
                winner.evidence.measured_at,
            ]
            for winner in found
        ],
    )
    output.emit({"winners": [winner_json(winner) for winner in found]})


def promote(
    winner: WinnerId,
    why: Why = "promoted by hand",
    despite_quarantine: Annotated[
        bool, typer.Option("--despite-quarantine", help="Promote a quarantined config: what was wrong is over.")
    ] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Serve winner ID from now on; the one that is promoted for its task retires."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        promoted = opened.promote(winner, why, despite_quarantine=despite_quarantine)
    _told(output, promoted)


def quarantine(winner: WinnerId, why: Why, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Never serve winner ID again; no campaign promotes its config for this workload and device."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        quarantined = opened.quarantine(winner, why)
        served = opened.winners(place=quarantined.task.place)
    _told(output, quarantined)
    if not served:
        output.say("  nothing is promoted in its place; see `tuner winners --state all`")


def rollback(
    kernel: Kernel,
    workload: Words = None,
    workload_name: WorkloadName = None,
    device: DeviceKind = "cpu",
    target: Target = None,
    why: Why = "rolled back by hand",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Quarantine what is promoted for KERNEL and a workload, and serve what was promoted before it."""
    output = Output(as_json=as_json)
    task = task_from(kernel, workload, workload_name, device, needs_tools=False, target=target)
    with store_of(store) as opened:
        bad = _served(opened, task)
        good = opened.rollback(bad.id, why)
    output.say(f"winner {bad.id} ({config_text(bad.config)}) is quarantined")
    _told(output, good)


def history(winner: WinnerId, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """Show how winner ID was proven, and every state that it was in."""
    output = Output(as_json=as_json)
    with store_of(store) as opened:
        found = opened.winner(winner)
        changes = opened.history(winner)
    output.say(
        f"winner {winner}: {found.task.tunable} {workload_text(found.task.workload)} on {found.task.device.name}"
    )
    output.say(f"  config: {config_text(found.config)}")
    for name, value in _evidence_rows(found):
        output.say(f"  {name}: {value}")
    output.say("")
    output.table(["at", "state", "why"], [[change.at, change.state.value, change.why] for change in changes])
    entries = [{"at": change.at, "state": change.state.value, "why": change.why} for change in changes]
    evidence = winner_json(found) | {"evidence": _evidence_json(found.evidence)}
    output.emit({**evidence, "history": entries})


def winner_json(winner: Winner) -> dict[str, Any]:
    """Return a winner as plain data, its evidence in short."""
    evidence = winner.evidence
    return {
        "id": winner.id,
        "state": winner.state.value,
        "kernel": winner.task.tunable,
        "version": winner.task.version,
        "workload": dict(winner.task.workload),
        "device": winner.task.device.name,
        "config": dict(winner.config),
        "speedup": evidence.speedup if evidence.rounds else None,
        "speedup_interval": _interval(evidence),
        "campaign": winner.campaign,
        "origin": evidence.origin,
        "measured_at": evidence.measured_at,
    }


def _told(output: Output, winner: Winner) -> None:
    task = winner.task
    output.say(f"winner {winner.id} is {winner.state}: {task.tunable} {workload_text(task.workload)}")
    output.say(f"  config: {config_text(winner.config)}")
    output.emit(winner_json(winner))


def _served(store: Store, task: Task) -> Winner:
    """Return the winner that is served for a task: of the kernel as it is, or else the newest of another version."""
    served = store.winners(place=task.place)
    of_version = [winner for winner in served if winner.task.key == task.key]
    if not served:
        raise StoreError(f"no winner is promoted for {task.tunable} {workload_text(task.workload)} on this device")
    return (of_version or served)[0]


def _interval(evidence: Evidence) -> list[float] | None:
    """Return the interval, unless there was too little for one, which JSON could not carry either."""
    return list(evidence.interval) if all(map(math.isfinite, evidence.interval)) else None


def _speedup_text(evidence: Evidence) -> str:
    if not evidence.rounds:
        return "not proven here"
    interval = _interval(evidence)
    return f"{evidence.speedup:.3f}x" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


def _origin_text(winner: Winner) -> str:
    return f"campaign {winner.campaign}" if winner.campaign else winner.evidence.origin or "-"


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Return evidence without its samples."""
    data = {name: value for name, value in evidence.to_json().items() if name != "samples"}
    told = {"largest_error": evidence.largest_error, "tolerance": evidence.tolerance}
    return {**data, **told, "conditions": evidence.conditions}


def _evidence_rows(winner: Winner) -> list[tuple[str, str]]:
    """Return what people want to know of how a winner was proven; what is not known is left out."""
    evidence = winner.evidence
    error = evidence.largest_error
    rows = [
        ("from", _origin_text(winner)),
        ("speed-up", _speedup_text(evidence)),
        ("measured at", evidence.measured_at),
        ("kernel source", evidence.source_hash or winner.task.version),
        ("environment", _pairs(evidence.environment)),
    ]
    if evidence.rounds:
        times = f"{seconds_text(evidence.config_seconds)} against {seconds_text(evidence.default_seconds)}"
        loads = len(set(evidence.samples.get("load", ())))
        rows += [
            ("median", f"{times} of the default ({config_text(evidence.default)})"),
            ("pairs", f"{evidence.rounds}" + (f" over {loads} loads" if loads else "")),
            ("seeds of inputs", _pairs(evidence.seeds) or str(evidence.seed)),
            ("largest error", f"{error:.3g} of the largest value" if error is not None else ""),
            ("allowed", evidence.tolerance or ""),
            ("held-out shapes", "; ".join(map(workload_text, evidence.edge_shapes)) or "none"),
            ("conditions", _pairs(evidence.conditions)),
        ]
    return [(name, value) for name, value in rows if value]


def _pairs(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())

"""`tuner snapshot` and `tuner lock`: winners as one file for serving code, and which ones a deployment runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import AsJson, DeviceKind, StoreUrl, Target
from tuner.cli.output import Output
from tuner.cli.session import store_of
from tuner.db import Store
from tuner.devices import detect
from tuner.errors import SnapshotError
from tuner.gpus import target_device
from tuner.lookup import Lock, Proof, Snapshot, read_snapshot, snapshot_of, write_snapshot
from tuner.lookup.snapshot import Made

__all__ = ["register"]

SnapshotFile = Annotated[
    Path | None, typer.Option("--snapshot", help="A snapshot's file; else the winners of the store.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(snapshot)
    app.command()(lock)


def snapshot(
    out: Annotated[Path, typer.Option(help="The file to write, such as winners.json.")],
    device: DeviceKind = "cpu",
    target: Target = None,
    every: Annotated[bool, typer.Option("--all", help="The winners of all devices, not of one.")] = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the promoted winners into a file that serving code opens without the store."""
    output = Output(as_json=as_json)
    here = target_device(target) if target else detect(device)
    with store_of(store) as opened:
        proofs = _promoted(opened)
    kept = [proof for proof in proofs if every or proof.device.fingerprint == here.fingerprint]
    if not kept:
        elsewhere = f"; of other devices there are {len(proofs)}, which --all writes" if proofs else ""
        raise SnapshotError(f"no winner is promoted for {here.name} in the store{elsewhere}")
    made = snapshot_of(kept, Made.now(detect() if target else here))
    write_snapshot(out, made)
    output.say(f"{out}: {len(made)} winners of {len(made.kernels)} kernels")
    output.say(f"  digest: {made.digest}")
    output.emit({"out": str(out), "winners": len(made), "kernels": made.kernels, "digest": made.digest})


def lock(
    file: Annotated[Path, typer.Option("--file", help="The lock's file.")] = Path("tuner.lock"),
    check: Annotated[bool, typer.Option("--check", help="Compare, and fail where the winners are others.")] = False,
    snapshot: SnapshotFile = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write the digest of the winners that are to be served, for the processes of one deployment to compare."""
    output = Output(as_json=as_json)
    found, name = _winners(snapshot, store)
    if check:
        Lock.read(file).require(found, name)
        output.say(f"{name} has the winners that {file} is on")
    else:
        Lock.of(found).write(file)
        output.say(f"{file}: on the {len(found)} winners of {name}")
    output.say(f"  digest: {found.digest}")
    output.emit({"file": str(file), "winners": len(found), "digest": found.digest})


def _winners(snapshot: Path | None, store: str | None) -> tuple[Snapshot, str]:
    """Return the winners that a lookup over the snapshot, else over the store, serves; and what to call it."""
    if snapshot is not None:
        return read_snapshot(snapshot), str(snapshot)
    with store_of(store) as opened:
        return snapshot_of(_promoted(opened)), "the store"


def _promoted(store: Store) -> list[Proof]:
    return list(map(Proof.of, store.winners()))

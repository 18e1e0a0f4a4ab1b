"""`tuner import`, `tuner export`, `tuner formats`: files of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from tuner.cli.options import AsJson, StoreUrl, Words, fields_from
from tuner.cli.output import Output, config_text, seconds_text, workload_text
from tuner.cli.session import store_of
from tuner.db import Store
from tuner.db.exchange import FORMATS, Content, Reading, Request, Search, Selection, format_named
from tuner.db.exchange.keeping import Kept, keep
from tuner.db.exchange.t4 import space_of_trials
from tuner.db.kernel_tuner import write_cache_file
from tuner.devices import detect
from tuner.errors import ExchangeError, TunerError
from tuner.gpus import target_device
from tuner.intake import Intake, take_in
from tuner.search_spaces import SearchSpace
from tuner.tunable import is_named, load, make_task, resolve
from tuner.types import Device, Scalar, State, Task, Trial, Winner

__all__ = ["register"]

_MOST_ROWS = 20

FormatName = Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of: {', '.join(FORMATS)}.")]
KernelOption = Annotated[str | None, typer.Option(help="Whose: triton:fused_moe, or a name that a file does not tell.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="The device, where a file does not tell: cuda, cpu.")
]
TargetOption = Annotated[str | None, typer.Option("--target", help="The same, for a GPU that need not be here: h200.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("import")(import_files)
    app.command("export")(export_files)
    app.command()(formats)


def formats(as_json: AsJson = False) -> None:
    """List the formats of other programs that can be imported and exported."""
    output = Output(as_json=as_json)
    output.table(["format", "program", "files"], [[name, one.program, one.about] for name, one in FORMATS.items()])
    listed = [{"name": name, "program": one.program, "about": one.about} for name, one in FORMATS.items()]
    output.emit({"formats": listed})


def import_files(
    format_name: FormatName,
    path: Annotated[Path, typer.Argument(help="The file, or for some formats a folder of them.")],
    kernel: KernelOption = None,
    workload: Words = None,
    device: DeviceOption = None,
    target: TargetOption = None,
    key: Annotated[str, typer.Option(help="triton-cache: names of the tuning key's values, as in M,N,K.")] = "",
    space: Annotated[Path | None, typer.Option(help="t4: the T1 file of the search space.")] = None,
    recording: Annotated[
        Path | None, typer.Option(help="t4, kernel-tuner: write all results to this file, for tuner replay.")
    ] = None,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Take another program's files into the store: winners as candidates, all results as a finished campaign."""
    output = Output(as_json=as_json)
    form = format_named(format_name)
    names = tuple(name for name in key.split(",") if name)
    request = Request(kernel or "", fields_from(workload or []), _device(device, target), names, space)
    reading = form.read(path, request)
    if recording is not None:
        _record(reading, recording, format_name)
    kept, intake = Kept((), 0), None
    if reading.findings or reading.trials:
        with store_of(store) as opened:
            intake = take_in(opened, reading)
            kept = keep(opened, reading.findings)
    _show_import(output, reading, kept, intake, recording)


def export_files(
    format_name: FormatName,
    out: Annotated[Path, typer.Option(help="The file, or for some formats the folder.")],
    kernel: KernelOption = None,
    workload: Words = None,
    device: DeviceOption = None,
    target: TargetOption = None,
    state: Annotated[State, typer.Option(help="Which winners.")] = State.PROMOTED,
    campaign: Annotated[
        str | None, typer.Option(help="t4, kernel-tuner: whose trials, the newest by default; the beginning will do.")
    ] = None,
    autotuner: Annotated[str, typer.Option(help="triton-cache: path/to/file.py:kernel, under @triton.autotune.")] = "",
    dtypes: Annotated[str, typer.Option(help="triton-cache: of its tensors, as in torch.float16,torch.float16.")] = "",
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write winners, trials or a search space to files of another program; all of them, or none."""
    output = Output(as_json=as_json)
    form = format_named(format_name)
    fields = fields_from(workload or [])
    place = _device(device, target)
    match form.content:
        case Content.SPACE:
            selection = Selection(search=_space_search(kernel, fields, place))
        case Content.TRIALS:
            with store_of(store) as opened:
                selection = Selection(search=_campaign_search(opened, campaign, kernel, fields))
        case Content.WINNERS:
            with store_of(store) as opened:
                found = _winners(opened, state, kernel, fields, place)
            winners = found if kernel else [winner for winner in found if form.takes(winner.task.tunable)]
            if not winners:
                of = f" of {kernel}" if kernel else f" for {form.program}"
                raise ExchangeError(f"the store has no {state} winner{of} to export; see --state, --kernel and -w")
            types = tuple(name.strip() for name in dtypes.split(",") if name.strip())
            selection = Selection(winners=winners, autotuner=autotuner, dtypes=types)
    writing = form.write(out, selection)
    output.say(f"{writing.configs} configs in {len(writing.files)} {'file' if len(writing.files) == 1 else 'files'}")
    for file in writing.files[:_MOST_ROWS]:
        output.say(f"  {file}")
    if len(writing.files) > _MOST_ROWS:
        output.say(f"  and {len(writing.files) - _MOST_ROWS} more")
    for note in writing.notes:
        output.say(f"note: {note}")
    output.emit(
        {"files": [str(file) for file in writing.files], "configs": writing.configs, "notes": list(writing.notes)}
    )


def _device(name: str | None, target: str | None) -> Device | None:
    if name and target:
        raise TunerError("--device and --target are two ways to say one thing; give one")
    if target:
        return target_device(target)
    return detect(name) if name else None


def _record(reading: Reading, path: Path, format_name: str) -> None:
    if reading.task is None or reading.space is None or not reading.trials:
        raise ExchangeError(f"a file of {format_name} has no results for a recording; leave --recording out")
    write_cache_file(path, reading.task, reading.space, reading.trials)


def _show_import(output: Output, reading: Reading, kept: Kept, intake: Intake | None, recording: Path | None) -> None:
    if reading.space is not None:
        output.say(f"a search space of {reading.space.size} configs:")
        rows = [[one.name, ", ".join(str(value) for value in one.values)] for one in reading.space.parameters]
        output.table(["  parameter", "values"], [[f"  {name}", values] for name, values in rows])
    if kept.added:
        rows = [_row(winner) for winner in kept.added[:_MOST_ROWS]]
        output.table(["winner", "kernel", "workload", "device", "told time", "config", "from"], rows)
        if len(kept.added) > _MOST_ROWS:
            output.say(f"and {len(kept.added) - _MOST_ROWS} more")
    if reading.findings:
        already = f", {kept.known} were there already" if kept.known else ""
        output.say(f"{len(kept.added)} new candidates{already}; nothing is served before it is proven or promoted")
    if intake is not None:
        what = "is finished, and" if intake.is_new else "had them already, and"
        output.say(f"{len(reading.trials)} results: campaign {intake.campaign} {what} agents learn from it")
    for note in reading.notes:
        output.say(f"note: {note}")
    if recording is not None:
        output.say(f"judge agents on the results: tuner replay {recording}")
    output.emit(
        {
            "added": [_data(winner) for winner in kept.added],
            "known": kept.known,
            "space_size": reading.space.size if reading.space else None,
            "trials": len(reading.trials),
            "campaign": intake.campaign if intake else None,
            "recording": str(recording) if recording else None,
            "notes": list(reading.notes),
        }
    )


def _row(winner: Winner) -> list[str]:
    seconds = winner.evidence.config_seconds
    return [
        str(winner.id),
        winner.task.tunable,
        workload_text(winner.task.workload),
        winner.task.device.name,
        seconds_text(seconds) if seconds else "-",
        config_text(winner.config),
        winner.evidence.origin,
    ]


def _data(winner: Winner) -> dict[str, object]:
    return {
        "winner": winner.id,
        "kernel": winner.task.tunable,
        "workload": dict(winner.task.workload),
        "device": winner.task.device.name,
        "config": dict(winner.config),
        "seconds": winner.evidence.config_seconds or None,
        "origin": winner.evidence.origin,
    }


def _winners(
    store: Store, state: State, kernel: str | None, fields: Mapping[str, Scalar], device: Device | None
) -> list[Winner]:
    """Return the winners that are asked for, the oldest first; of several for one task the newest."""
    newest: dict[str, Winner] = {}
    for winner in store.winners(tunable=kernel, state=state):
        workload = winner.task.workload
        if any(name not in workload or workload[name] != value for name, value in fields.items()):
            continue
        if device is not None and winner.task.device.fingerprint != device.fingerprint:
            continue
        newest.setdefault(winner.task.place, winner)
    return sorted(newest.values(), key=lambda winner: winner.id)


def _space_search(kernel: str | None, fields: Mapping[str, Scalar], device: Device | None) -> Search:
    """Return a kernel's search space for a workload and a device."""
    if not kernel:
        raise ExchangeError("a T1 file holds one search space: say whose, with --kernel and -w")
    place = device or detect("cpu")
    reference = resolve(kernel, place.kind)
    tunable = load(reference)
    task = make_task(reference, tunable, tunable.workload(fields), place, needs_tools=False)
    return Search(task, tunable.search_space(task.workload, task.device))


def _campaign_search(store: Store, campaign: str | None, kernel: str | None, fields: Mapping[str, Scalar]) -> Search:
    """Return the one task of a campaign that is asked for, with its trials; of the newest campaign if none is named.

    Raises:
        ExchangeError: there is no campaign, it has none or several such tasks, or no trials.
    """
    records = [store.campaign(campaign)] if campaign else store.campaigns()[:1]
    if not records:
        raise ExchangeError("the store has no campaign, and so no trials to export")
    [record] = records
    tasks = [
        task
        for task in store.tasks(record.id)
        if is_named(task.tunable, kernel) and all(task.workload.get(name) == value for name, value in fields.items())
    ]
    if len(tasks) != 1:
        listed = "; ".join(f"{task.tunable} {workload_text(task.workload)}" for task in tasks or store.tasks(record.id))
        raise ExchangeError(
            f"{len(tasks)} tasks of campaign {record.id} fit, and a file holds one: choose from {listed}"
        )
    trials = tuple(store.trials(record.id, tasks[0]))
    if not trials:
        raise ExchangeError(f"campaign {record.id} has no trials of {tasks[0].tunable}")
    return Search(tasks[0], _space(tasks[0], trials), trials)


def _space(task: Task, trials: Sequence[Trial]) -> SearchSpace:
    """Return the kernel's space, as long as every trial is in it; else that of the trials alone."""
    try:
        space = load(task.tunable).search_space(task.workload, task.device)
    except TunerError:
        return space_of_trials(trials)
    return space if all(space.contains(trial.config) for trial in trials) else space_of_trials(trials)

"""`tuner kernels`, `tuner devices`, `tuner agents`: what there is to tune, to tune on, and to tune with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tuner.agents import agent_class, installed_agents
from tuner.cli.options import AsJson, StoreUrl, Target
from tuner.cli.output import Output, workload_text
from tuner.cli.roofline import peaks_rows
from tuner.cli.session import runner_of, store_of
from tuner.devices import detect
from tuner.errors import TunerError
from tuner.gpus import known_gpu, target_device
from tuner.peaks import measure_peaks
from tuner.tunable import TOOLCHAINS, installed, load
from tuner.types import Device

__all__ = ["register"]

_SHOWN_TARGET = "cuda:90"

Shown = Annotated[str, typer.Option("--device", help="Which device: cpu for one core, cpu:N for N, cuda.")]
Measure = Annotated[bool, typer.Option("--measure", help="Measure the peaks of the device, and store them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(kernels)
    app.command()(devices)
    app.command()(agents)


def kernels(as_json: AsJson = False) -> None:
    """List the installed kernels with their parameters and named workloads."""
    output = Output(as_json=as_json)
    found = [_kernel(name, toolchains) for name, toolchains in installed().items()]
    for kernel in found:
        output.say(f"{kernel['name']}  ({', '.join(kernel['toolchains'])}; {', '.join(kernel['device_kinds'])})")
        if kernel.get("error"):
            output.say(f"  cannot be loaded: {kernel['error']}")
            continue
        for name, values in kernel["parameters"].items():
            output.say(f"  {name}: {', '.join(str(value) for value in values)}")
        rows = [[f"  {name}", workload_text(workload)] for name, workload in kernel["workloads"].items()]
        output.table(["  workload", "fields"], rows)
        output.say("")
    output.emit({"kernels": [{**kernel, "workloads": list(kernel["workloads"])} for kernel in found]})


def _kernel(name: str, toolchains: list[str]) -> dict[str, Any]:
    """Return what is known of a kernel; its parameters are those of its first toolchain and named workload.

    Where that is one for GPUs, they are those for a GPU of the table.
    """
    device = detect("cpu") if toolchains[0] in TOOLCHAINS["cpu"] else target_device(_SHOWN_TARGET)
    kinds = [kind for kind, served in TOOLCHAINS.items() if set(served) & set(toolchains)]
    data: dict[str, Any] = {"name": name, "toolchains": toolchains, "device_kinds": kinds}
    try:
        tunable = load(f"{toolchains[0]}:{name}")
        workloads = dict(tunable.workloads)
        first = next(iter(workloads.values()), None)
        parameters = tunable.search_space(first, device).parameters if first else ()
    except TunerError as error:
        return {**data, "parameters": {}, "workloads": {}, "error": str(error)}
    return {**data, "parameters": {one.name: list(one.values) for one in parameters}, "workloads": workloads}


def devices(
    device: Shown = "cpu",
    target: Target = None,
    measure: Measure = False,
    store: StoreUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show a device of this machine, or a GPU that need not be here, with the peaks that are known of it."""
    output = Output(as_json=as_json)
    if target and measure:
        raise TunerError(f"the peaks of {target} cannot be measured: it need not be here")
    found = target_device(target) if target else detect(device)
    with store_of(store) as opened:
        if measure:
            with runner_of("local", None) as runner:
                opened.keep_peaks(found, measure_peaks(runner, found))
        known = opened.peaks(found)
    output.say(f"{target or device}: {found.name} ({found.arch})")
    rows = [[name, str(value)] for name, value in {**found.features, **found.environment}.items()]
    rows += peaks_rows(known) if known else _unmeasured(found)
    output.table(["  what", "value"], [[f"  {name}", value] for name, value in rows])
    data = {**found.to_json(), "fingerprint": found.fingerprint, "peaks": known.to_json() if known else None}
    output.emit({"devices": [data]})


def _unmeasured(device: Device) -> list[list[str]]:
    """Return what is to be said of peaks that nobody has measured."""
    gpu = known_gpu(device)
    if gpu is None:
        return [["peaks", "not measured yet; see --measure"]]
    rows = [[f"{dtype} arithmetic", f"{flops / 1e12:.4g} TFLOP/s"] for dtype, flops in gpu.peak_flops.items()]
    return [*rows, ["memory bandwidth", f"{gpu.peak_bytes_per_second / 1e9:.4g} GB/s"], ["peaks from", gpu.source]]


def agents(as_json: AsJson = False) -> None:
    """List the installed agents; one with variants is asked for as `name:variant`."""
    output = Output(as_json=as_json)
    found = [_agent(name, reference) for name, reference in installed_agents().items()]
    output.table(
        ["agent", "variants", "class"],
        [[agent["name"], ", ".join(agent["variants"]) or "-", agent["class"]] for agent in found],
    )
    output.emit({"agents": found})


def _agent(name: str, reference: str) -> dict[str, Any]:
    try:
        kind = agent_class(name)
        variants = [kind.free_variant] if kind.free_variant else list(kind.variants)
    except TunerError:
        variants = []
    return {"name": name, "class": reference, "variants": variants}

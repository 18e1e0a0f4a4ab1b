"""Gathers what runs on one model of GPU found into a folder of results, with the tables that README shows.

    python -m benchmarks.gpu.summary RUN [RUN ...] --out benchmarks/results/gpu_h200
    python -m benchmarks benchmarks/results/gpu_h200 --fill README.md

Of a step that several runs made, the last counts; campaigns of all runs are put together, the last of each task.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Table

__all__ = ["gathered", "main", "tables_of_step"]

Found = Mapping[str, Any]


def gathered(runs: Sequence[Mapping[str, Found]]) -> dict[str, dict[str, Any]]:
    """Return by name what the steps of several runs found, campaigns put together.

    Raises:
        ValueError: the runs are of different GPUs.
    """
    steps: dict[str, dict[str, Any]] = {}
    gpus = {found["machine"]["gpu"] for run in runs for found in run.values()}
    if len(gpus) > 1:
        raise ValueError(f"runs of different GPUs cannot be put together: {', '.join(sorted(map(str, gpus)))}")
    tasks: dict[tuple[str, str], Any] = {}
    for run in runs:
        for name, found in run.items():
            steps[name] = dict(found)
            for task in found.get("tasks", ()) if name == "campaigns" else ():
                tasks[task["kernel"], task["workload"]] = task
    if "campaigns" in steps:
        steps["campaigns"]["tasks"] = list(tasks.values())
    for name, found in steps.items():
        found["tables"] = [
            {"name": table.name, "columns": table.columns, "rows": table.rows} for table in tables_of_step(name, found)
        ]
    return steps


def tables_of_step(name: str, found: Found) -> list[Table]:
    """Return the tables of a step; none where it failed."""
    make = _TABLES.get(name)
    return make(found) if make and not found.get("error") else []


def _campaigns(found: Found) -> list[Table]:
    done = [task for task in found["tasks"] if task.get("rivals") is not None]
    rows = [
        [
            task["kernel"],
            task["workload"],
            _microseconds(task["tuned_seconds"]),
            _interval(_inverse(task["default"])),
            "; ".join(f"{name} {_interval(_inverse(ratio))}" for name, ratio in task["rivals"].items()) or "-",
            f"{task['peak_share']:.0%} ({_BOUNDS[task['bound']]})",
            "-" if task["joules"] is None else f"{1e3 * task['joules']:.3g}",
            f"{task['trials']} in {task['search_seconds']:.0f} s",
        ]
        for task in done
    ]
    columns = ["kernel", "workload", "us", "tuned / default", "tuned / rival", "of peak", "mJ", "trials"]
    return [Table("gpu-campaigns", columns, rows)]


def _throughput(found: Found) -> list[Table]:
    rows = [
        [
            way["what"],
            f"{way['per_minute']:.0f}",
            f"{way['usable']} of {len(found['configs'])}",
            "-" if way["idle"] is None else f"{way['idle']:.0%}",
            f"{way['seconds']:.1f} s",
        ]
        for way in found["ways"]
    ]
    return [Table("gpu-throughput", ["way", "configs a minute", "usable", "device idle", "wall"], rows)]


def _noise(found: Found) -> list[Table]:
    rows = [
        [
            case["kernel"],
            case["workload"],
            case["cache"],
            _microseconds(case["seconds"]),
            f"{case['error']:.2%}",
            f"{case['short_error']:.2%} ({case['short_pairs']:.0f} pairs)",
        ]
        for case in found["cases"]
    ]
    return [Table("gpu-noise", ["kernel", "workload", "tensors", "us", "error, 60 pairs", "error, 50 ms"], rows)]


def _first(found: Found) -> list[Table]:
    rows = [
        [
            one["kernel"],
            one["config"],
            _microseconds(one["seconds"]),
            _microseconds(one["jit_seconds"]) if one["jit_seconds"] else "-",
            {True: "yes", False: "NO", None: "-"}[one["same_bits"]],
            _numbers(one["registers"]),
            _numbers(one["jit_registers"]) if one["jit_registers"] else "-",
        ]
        for one in found["launches"]
    ]
    columns = ["kernel", "config", "ours, us", "Triton's, us", "same bits", "registers", "Triton's"]
    return [Table("gpu-launcher", columns, rows)]


def _correctness(found: Found) -> list[Table]:
    kinds = ("correct", "constraints", "compile", "correctness", "runtime")
    rows = [
        [one["kernel"], str(one["workloads"]), *(str(one["counts"].get(kind, 0)) for kind in kinds)]
        for one in found["kernels"]
    ]
    columns = ["kernel", "workloads", "right", "pruned", "not built", "wrong", "crashed"]
    return [Table("gpu-correctness", columns, rows)]


def _peaks(found: Found) -> list[Table]:
    rows = [
        [
            one["what"],
            f"{one['measured'] / 1e12:.4g} T{one['unit']}",
            f"{one['data_sheet'] / 1e12:.4g}" if one["data_sheet"] else "-",
            f"{one['measured'] / one['data_sheet']:.1%}" if one["data_sheet"] else "-",
        ]
        for one in found["rows"]
    ]
    return [Table("gpu-peaks", ["of", "measured", "data sheet", "share"], rows)]


def _vllm(found: Found) -> list[Table]:
    ways = ("default", "vLLM's default", "vLLM's file")
    rows = [
        [
            task["workload"],
            _microseconds(task["seconds"]),
            *(_interval(_inverse(task["ratios"][way])) if way in task["ratios"] else "-" for way in ways),
        ]
        for task in found["tasks"]
    ]
    return [Table("gpu-vllm", ["workload", "us", *(f"tuned / {way}" for way in ways)], rows)]


def _engine(found: Found) -> list[Table]:
    modes = [
        [
            model["model"],
            mode["mode"],
            mode["status"],
            _told(mode["ratio"]),
            _told(mode["energy_ratio"]),
            "-" if mode["kl_logits"] is None else f"{mode['kl_logits']:.1e}",
            "-" if mode["apply_seconds"] is None else f"{mode['apply_seconds']:.1f} s",
        ]
        for model in found["models"]
        for mode in model["modes"]
    ]
    campaigns = [
        [
            model["model"],
            one["changes"] or "the default is kept",
            "-" if one["speedup"] is None else _told({"value": one["speedup"], **_ends(one["interval"])}),
            _told(one.get("final", {}).get("energy_ratio")),
            f"{one['trials']} in {one['wall_seconds']:.0f} s, {one['busy_share']:.0%} of it starting or measuring",
        ]
        for model in found["models"]
        if (one := model.get("campaign"))
    ]
    columns = ["model", "mode", "status", "default / mode, time", "energy", "KL", "start"]
    winners = ["model", "winner differs in", "default / winner, time", "energy", "trials"]
    return [Table("gpu-engine-modes", columns, modes), Table("gpu-engine", winners, campaigns)]


def _ends(interval: Sequence[float] | None) -> dict[str, float]:
    return {"low": interval[0], "high": interval[1]} if interval else {}


def _told(ratio: Mapping[str, float] | None) -> str:
    """Return a ratio with its interval, where it has one."""
    if not ratio:
        return "-"
    return _interval((ratio["value"], ratio["low"], ratio["high"])) if "low" in ratio else f"{ratio['value']:.2f}"


def _transfer(found: Found) -> list[Table]:
    rows = [
        [task["kernel"], task["workload"], task["without"], task["with"], f"{1 / task['best']:.2f}"]
        for task in found["tasks"]
    ]
    return [Table("gpu-transfer", ["kernel", "workload", "without", "with", "default / best"], rows)]


_TABLES = {
    "campaigns": _campaigns,
    "correctness": _correctness,
    "engine": _engine,
    "first": _first,
    "noise": _noise,
    "peaks": _peaks,
    "throughput": _throughput,
    "transfer": _transfer,
    "vllm": _vllm,
}
_BOUNDS = {"compute": "FLOP/s", "memory": "bandwidth"}


def _inverse(ratio: Mapping[str, float]) -> tuple[float, float, float]:
    """Return tuned / other with its interval, from other / tuned."""
    return 1 / ratio["ratio"], 1 / ratio["high"], 1 / ratio["low"]


def _interval(values: tuple[float, float, float]) -> str:
    value, low, high = values
    digits = 3 if value < 1.5 else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.4g}"


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)


def main(arguments: Sequence[str] | None = None) -> None:
    """Gather the runs and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder that a run wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    options = parser.parse_args(arguments)
    runs = [{path.stem: json.loads(path.read_text()) for path in sorted(run.glob("*.json"))} for run in options.runs]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, found in gathered(runs).items():
        (options.out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

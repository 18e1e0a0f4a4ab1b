"""A mixture of experts with the configs that vLLM has on record for this GPU, and with vLLM's default, beside ours.

All run in our kernel, which has vLLM's parameters: what is compared are configs, not kernels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.gpu.beside import side_by_side
from benchmarks.gpu.campaigns import tuned
from benchmarks.gpu.step import Run, kernel_of, table
from tuner.db.exchange.vllm import PARAMETERS, file_name, nearest, table_of
from tuner.types import Config, Device, Workload

__all__ = ["recorded", "vllm", "vllm_default"]

_KERNEL = "triton:fused_moe"
_WORKLOADS = ("qwen3-30b-a3b-up-128", "mixtral-8x7b-tp8-up-2k", "mixtral-8x7b-up-64")
_TRIALS = 80
_LEAST_SECONDS = 60.0
_FILES = Path(__file__).with_name("vllm_configs.json")


def vllm(run: Run) -> dict[str, Any]:
    """Return for each workload how vLLM's configs compare with the winner of a campaign, interleaved."""
    kernel = kernel_of(_KERNEL)
    results: list[dict[str, Any]] = []
    found = {"source": json.loads(_FILES.read_text())["source"], "tasks": results}
    runner = run.runner()
    try:
        for name in _WORKLOADS:
            if run.left < _LEAST_SECONDS:
                print("out of time", flush=True)
                break
            task = run.task(_KERNEL, kernel.workloads[name])
            campaign, best = tuned(run, runner, task, 8 if run.quick else _TRIALS)
            default = kernel.default(task.workload, task.device)
            configs = {"tuned": best, "default": default, "vLLM's default": vllm_default(task.workload)}
            if (of_file := recorded(task.workload, task.device)) is not None:
                configs["vLLM's file"] = of_file
            beside = side_by_side(run, task, configs, {})
            shown = {way: dict(config) for way, config in configs.items()}
            results.append({"kernel": _KERNEL, "workload": name, **campaign, **beside, "configs": shown})
            run.keep("vllm", found)
    finally:
        runner.close()
    table(
        ["workload", "tuned us", *("default", "vLLM's default", "vLLM's file")],
        [
            [
                one["workload"],
                f"{1e6 * one['seconds']:.2f}",
                *(
                    f"{one['ratios'][way]['ratio']:.3f}" if way in one["ratios"] else "-"
                    for way in ("default", "vLLM's default", "vLLM's file")
                ),
            ]
            for one in results
        ],
    )
    return found


def recorded(workload: Workload, device: Device) -> Config | None:
    """Return what vLLM takes from its file for this device: the config for the nearest number of tokens."""
    name = file_name(workload.integer("E"), workload.integer("N") // 2, device)
    files = json.loads(_FILES.read_text())["files"]
    if name not in files:
        return None
    return nearest(table_of(name, json.dumps(files[name])), workload.integer("T"))


def vllm_default(workload: Workload) -> Config:
    """Return what vLLM 0.32 takes on NVIDIA's GPUs for weights of 16 bits where it has no file: by the tokens alone.

    Example:
        >>> dict(vllm_default(Workload(T=64, E=8)))["BLOCK_SIZE_M"]
        32
    """
    tokens, experts = workload.integer("T"), workload.integer("E")
    few = tokens <= 64
    rows = next((tile for most, tile in ((32, 16), (96, 32), (512, 64)) if tokens <= most), 128)
    values = (
        rows,
        64 if few else 128,
        128 if few else 64,
        16 if tokens // experts > 128 else 1,
        4 if tokens <= 128 else 8,
        4 if tokens <= 32 else 3,
    )
    return Config(dict(zip(PARAMETERS, values, strict=True)))

"""Spaces of kernels at many shapes, measured whole: what lookups for unseen shapes, and agents, are judged on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.step import Run, table
from tuner.record import Recording
from tuner.types import Scalar

__all__ = ["SHAPES", "recordings"]

_ATTENTION: Mapping[str, Scalar] = {"HKV": 8, "D": 128, "dtype": "bf16"}

SHAPES: Mapping[str, Sequence[Mapping[str, Scalar]]] = {
    "triton:flash_prefill": [
        {"B": batch, "HQ": heads, "S": length, "mask": "causal", **_ATTENTION}
        for batch, heads, length in (
            (1, 32, 512), (4, 32, 1024), (1, 32, 2048), (1, 64, 4096), (16, 32, 256), (1, 32, 8192), (2, 64, 1024),
            (1, 8, 4096),
        )
    ],
    "triton:paged_attention": [
        {"B": batch, "HQ": heads, "S": length, **_ATTENTION}
        for batch, heads, length in ((32, 32, 4096), (1, 32, 32768), (8, 64, 2048), (128, 32, 512))
    ],
    "cuda:transpose": [
        {"M": rows, "N": columns}
        for rows, columns in (
            (8192, 8192), (1024, 4096), (4096, 4096), (64, 16384), (16384, 64), (512, 512), (3072, 1000), (28672, 1024),
        )
    ],
    "triton:swiglu": [
        {"M": rows, "N": columns, "dtype": "bf16"}
        for rows, columns in (
            (4096, 14336), (64, 14336), (1, 14336), (16, 25600), (2048, 25600), (512, 4096), (16384, 1536),
            (256, 11008),
        )
    ],
    "triton:rotary": [
        {"T": tokens, "H": heads, "D": 128, "S": 8192, "dtype": "bf16"}
        for tokens, heads in ((4096, 40), (64, 40), (1, 40), (2048, 72), (512, 10), (8192, 10), (16, 72), (1024, 40))
    ],
}  # fmt: skip
"""By kernel the workloads: of models' prefills and decodes, and some that no kernel was made for."""


def recordings(run: Run) -> dict[str, Any]:
    """Record one file for each kernel and shape into the folder `recorded`, kernel by kernel; says what it holds."""
    folder = run.out / "recorded"
    folder.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    runner = run.runner()
    try:
        for kernel, shapes in list(SHAPES.items())[run.tasks]:
            for shape in shapes[:1] if run.quick else shapes:
                if run.left < 30:
                    print("out of time", flush=True)
                    return {"recordings": found}
                task = run.task(kernel, shape)
                fields = "_".join(f"{name}{value}" for name, value in shape.items())
                path = folder / f"{kernel.partition(':')[2]}_{task.device.arch}_{fields}.json.gz"
                started = time.monotonic()
                end = Recording(task, path, runner=runner, limit=8 if run.quick else None, seed=run.seed).run()
                took = time.monotonic() - started
                failures = {status.value: count for status, count in end.failures.items()}
                found.append({"kernel": kernel, "fields": dict(shape), "file": path.name, "configs": end.recorded})
                found[-1] |= {"failures": failures, "took_seconds": took}
                print(f"  {path.name}: {end.recorded} configs in {took:.0f} s, failed {failures}", flush=True)
                run.keep("recordings", {"recordings": found})
    finally:
        runner.close()
    table(
        ["file", "configs", "seconds"], [[one["file"], one["configs"], f"{one['took_seconds']:.0f}"] for one in found]
    )
    return {"recordings": found}

"""The peaks of this GPU, measured, beside those of its data sheet."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.step import Run, table
from tuner.devices import detect
from tuner.gpus import known_gpu
from tuner.peaks import measure_peaks

__all__ = ["peaks"]


def peaks(run: Run) -> dict[str, Any]:
    """Return the highest rates that the probe saw, and what the data sheet tells."""
    device = detect("cuda")
    runner = run.runner()
    try:
        measured = measure_peaks(runner, device)
    finally:
        runner.close()
    model = known_gpu(device)
    memory = measured.levels[-1]
    rates = {"fp32": measured.flops_per_second, **measured.dtype_flops_per_second}
    told = model.peak_flops if model else {}
    rows: list[dict[str, Any]] = [
        {"what": dtype, "unit": "FLOP/s", "measured": rate, "data_sheet": told.get(dtype)}
        for dtype, rate in rates.items()
    ]
    sheet = model.peak_bytes_per_second if model else None
    rows.append(
        {"what": f"memory ({memory.pattern})", "unit": "B/s", "measured": memory.bytes_per_second, "data_sheet": sheet}
    )
    table(
        ["what", "measured", "data sheet", "share"],
        [
            [
                one["what"],
                f"{one['measured'] / 1e12:.4g} T{one['unit']}",
                f"{one['data_sheet'] / 1e12:.4g}" if one["data_sheet"] else "-",
                f"{one['measured'] / one['data_sheet']:.1%}" if one["data_sheet"] else "-",
            ]
            for one in rows
        ],
    )
    return {"rows": rows, "peaks": measured.to_json(), "source": model.source if model else None}

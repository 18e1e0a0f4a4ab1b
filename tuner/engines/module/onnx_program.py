"""A module in ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
from onnxruntime.quantization import QuantType, quantize_dynamic

from tuner.engines.module.export import exported, kept
from tuner.engines.module.model import Inputs, Model
from tuner.engines.module.program import Array, Program, Setting

__all__ = ["OnnxProgram"]

_LEVELS = {
    "disable": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class OnnxProgram(Program):
    """A module in ONNX Runtime under a config."""

    def __init__(self, model: Model, setting: Setting) -> None:
        config = setting.config
        path = exported(model, setting)
        if config["ORT_PRECISION"] == "int8":
            path = _quantized(path, setting)
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.integer("THREADS")
        options.inter_op_num_threads = config.integer("INTEROP")
        parallel = bool(config["ORT_PARALLEL"])
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL if parallel else ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = _LEVELS[config.text("ORT_OPTIMIZATION")]
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(bool(config["ORT_SPINNING"]))))
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]

    def serve(self, batches: Sequence[Inputs]) -> list[float]:
        """Answer one batch after another."""
        seconds = []
        for batch in batches:
            started = time.perf_counter()
            self.outputs(batch)
            seconds.append(time.perf_counter() - started)
        return seconds

    def outputs(self, inputs: Inputs) -> list[Array]:
        """Return the answers to one batch."""
        feed = {name: one.numpy() for name, one in zip(self._names, inputs, strict=True)}
        answers: list[Array] = self._session.run(None, feed)
        return answers


def _quantized(path: Path, setting: Setting) -> Path:
    """Return the file with weights in int8, whose activations are quantized as they come."""

    def write(folder: Path) -> None:
        # Convolutions would become ones of integers, for which the CPU has no kernel of this kind.
        quantize_dynamic(
            path,
            folder / path.name,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            use_external_data_format=True,
        )

    return kept(setting.folder / f"{setting.key}-int8", write) / path.name

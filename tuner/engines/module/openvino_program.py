"""A module in OpenVINO."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from tuner.engines.module.export import exported, kept
from tuner.engines.module.model import Inputs, Model
from tuner.engines.module.program import Array, Program, Setting

__all__ = ["OpenvinoProgram"]

_FILE = "model.xml"
_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenvinoProgram(Program):
    """A module in OpenVINO under a config: batches are answered by as many streams as it has."""

    def __init__(self, model: Model, setting: Setting) -> None:
        config = setting.config
        self._options: dict[str, Any] = {
            "PERFORMANCE_HINT": config.text("OV_HINT").upper(),
            "NUM_STREAMS": config.integer("OV_STREAMS"),
            "INFERENCE_NUM_THREADS": config.integer("THREADS"),
            "INFERENCE_PRECISION_HINT": _PRECISIONS[config.text("OV_PRECISION")],
        }
        self._jobs = config.integer("OV_STREAMS")
        self._core = ov.Core()
        path = exported(model, setting)
        if config["OV_WEIGHTS"] == "int8":
            path = _compressed(path, setting)
        self._model = self._core.read_model(str(path))
        self.resize(config.integer("BATCH"))

    def serve(self, batches: Sequence[Inputs]) -> list[float]:
        """Answer all batches, as many at once as there are streams; each takes from its turn to its answer."""
        seconds = [0.0] * len(batches)

        def done(_: Any, told: tuple[int, float]) -> None:
            number, started = told
            seconds[number] = time.perf_counter() - started

        self._queue.set_callback(done)
        for number, batch in enumerate(batches):
            feed = _feed(batch)
            # Blocks until one of the streams is free.
            self._queue.get_idle_request_id()
            self._queue.start_async(feed, (number, time.perf_counter()))
        self._queue.wait_all()
        return seconds

    def outputs(self, inputs: Inputs) -> list[Array]:
        """Return the answers to one batch."""
        answers = self._compiled(_feed(inputs))
        return [np.asarray(answers[one], np.float32) for one in self._compiled.outputs]

    def resize(self, batch: int) -> None:
        """Compile for batches of this size: kernels for any size are slower."""
        model = self._model.clone()
        model.reshape({one: [batch, *list(one.partial_shape)[1:]] for one in model.inputs})
        self._compiled = self._core.compile_model(model, "CPU", self._options)
        self._queue = ov.AsyncInferQueue(self._compiled, self._jobs)


def _compressed(path: Path, setting: Setting) -> Path:
    """Return the file with the weights of products, embeddings and convolutions in int8, each channel with a scale."""

    def write(folder: Path) -> None:
        # It tells its makers of each use otherwise; this process is ours alone.
        os.environ.setdefault("NNCF_CI", "1")
        nncf: Any = importlib.import_module("nncf")
        model = nncf.compress_weights(ov.Core().read_model(str(path)), mode=nncf.CompressWeightsMode.INT8_ASYM)
        ov.save_model(model, str(folder / _FILE), compress_to_fp16=False)

    return kept(setting.folder / f"{setting.key}-openvino-int8", write) / _FILE


def _feed(inputs: Inputs) -> dict[int, Array]:
    return {position: one.numpy() for position, one in enumerate(inputs)}

"""The process that a model has to itself: loads it under a config, serves batches, compares answers with float32's.

Run as `python -m tuner.engines.module.child DESCRIPTOR PARENT CORES`; requests and replies are JSON. It ends when its
parent closes the connection or dies.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuner.engines.module.model import Inputs, Model, load_model
from tuner.engines.module.program import PROGRAMS, Array, Program, Setting, tensors_of
from tuner.engines.module.quality import quality
from tuner.errors import TunerError
from tuner.reference import import_reference
from tuner.types import Config

__all__ = ["main"]

_PARENT_CHECK_SECONDS = 0.5
_WARM_UP_BATCHES = 2
# Of what a factory draws when it does not seed its weights: the float32 module has to be the same one.
_FACTORY_SEED = 0


def main(arguments: Sequence[str]) -> None:
    """Serve requests from the connection that the parent passed on."""
    descriptor, parent, cores = int(arguments[0]), int(arguments[1]), arguments[2]
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    # A Ctrl-C at the terminal is for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    host = _Host()
    while True:
        try:
            request = json.loads(connection.recv_bytes())
        except (EOFError, ConnectionResetError):
            return
        connection.send_bytes(json.dumps(host.answer(request)).encode())


def _die_with(parent: int) -> None:
    """End this process when the parent is gone, even in the middle of a hung call."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


class _Host:
    """The program that runs here, and the batches that wait for it."""

    def __init__(self) -> None:
        self._reference = ""
        self._program: Program | None = None
        self._batch = 1
        self._tokens = 0
        self._waiting: list[Inputs] = []
        self._model: Model | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to a request; whatever goes wrong is a reply too."""
        try:
            match request["do"]:
                case "start":
                    return self._start(request)
                case "resize":
                    return self._resize(request["batch"])
                case "check":
                    return self._check(request["seed"])
                case "prepare":
                    return self._prepare(request["seed"], request["items"])
                case _:
                    return self._serve()
        except Exception as error:
            text = str(error) if isinstance(error, TunerError) else f"{type(error).__name__}: {error}"
            return {"error": text}

    def _start(self, request: Mapping[str, Any]) -> dict[str, Any]:
        config = Config(request["config"])
        self._reference = request["model"]
        self._model = model = self._load()
        self._tokens = model.tokens
        kind = import_reference(PROGRAMS[request["engine"]])
        assert isinstance(kind, type)
        assert issubclass(kind, Program)
        self._program = kind(model, Setting(config, Path(request["folder"]), request["key"]))
        # What is served is the program's now, which may have changed the module; another is made to compare with.
        self._model = Model(torch.nn.Identity(), model.inputs, model.held_out, model.limits, model.tokens)
        return self._resize(config.integer("BATCH"))

    def _resize(self, batch: int) -> dict[str, Any]:
        """Serve batches of this size from now on, and warm up."""
        program, model = self._running()
        if batch != self._batch:
            program.resize(batch)
        self._batch = batch
        generator = torch.Generator().manual_seed(0)
        program.serve([model.inputs(batch, generator) for _ in range(_WARM_UP_BATCHES)])
        return {
            "tokens": self._tokens,
            "memory_bytes": _resident_bytes(),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "device_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
        }

    def _check(self, seed: int) -> dict[str, Any]:
        """Compare the answers to held-out items with those of the module in float32, as torch computes them."""
        program, model = self._running()
        inputs = model.judged(torch.Generator().manual_seed(seed))
        count = inputs[0].shape[0]
        ours = _joined([program.outputs(batch) for batch in _batches(inputs, self._batch)], count)
        module = self._load().module
        with torch.inference_mode():
            # The module takes any number of items: what fills a program's large batch is not computed here.
            answers = [
                [one.float().numpy() for one in tensors_of(module(*batch))]
                for batch in _batches(inputs, min(self._batch, count))
            ]
        figures = quality(ours, _joined(answers, count))
        broken = model.limits.broken(figures)
        # JSON has no NaN.
        told = {name: value for name, value in figures.items() if np.isfinite(value)}
        return {"figures": told, "broken": broken}

    def _prepare(self, seed: int, items: int) -> dict[str, Any]:
        _, model = self._running()
        generator = torch.Generator().manual_seed(seed)
        self._waiting = [model.inputs(self._batch, generator) for _ in range(items // self._batch)]
        return {}

    def _serve(self) -> dict[str, Any]:
        program, _ = self._running()
        before = time.process_time()
        seconds = program.serve(self._waiting)
        return {"batch_seconds": seconds, "cpu_seconds": time.process_time() - before}

    def _running(self) -> tuple[Program, Model]:
        assert self._program is not None, "start comes first"
        assert self._model is not None, "start comes first"
        return self._program, self._model

    def _load(self) -> Model:
        torch.manual_seed(_FACTORY_SEED)
        return load_model(self._reference)


def _batches(inputs: Inputs, batch: int) -> list[Inputs]:
    """Return the items in whole batches; the last begins again with the first items, since a program has one size."""
    count = inputs[0].shape[0]
    rows = torch.arange(-(-count // batch) * batch) % count
    return [tuple(one[part] for one in inputs) for part in torch.split(rows, batch)]


def _joined(batches: Sequence[Sequence[Array]], count: int) -> list[Array]:
    """Return each output over all batches, as far as there are items."""
    return [np.concatenate(parts)[:count] for parts in zip(*batches, strict=True)]


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(sys.argv[1:])

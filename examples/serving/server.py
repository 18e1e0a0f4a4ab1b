"""A server that asks at every request which config to use, and takes over new winners while it serves.

    python examples/serving/server.py --store build/serving.db --tune    # find the configs of the usual sizes, once
    python examples/serving/server.py --store build/serving.db           # serve: /search, /metrics, /healthz

It finds the nearest of 32768 vectors for each query. How many vectors are compared at once is the config: it depends on
how many queries come together. What is asked for and was not tuned is counted in the store; see `tuner misses`.
"""

from __future__ import annotations

import argparse
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI, Query, Response
from prometheus_client import CollectorRegistry, generate_latest

import tuner
from tuner.db.sql import open_store
from tuner.lookup import Lookup

KERNEL = "nearest_vector"
SPACE = {"chunk": [32768, 8192, 2048, 512, 128]}
USUAL_ROWS = (1, 8, 64)
VECTORS = np.random.default_rng(0).standard_normal((32768, 64), dtype=np.float32)

Floats = npt.NDArray[np.float32]


def nearest(queries: Floats, rows: int, chunk: int) -> npt.NDArray[np.int64]:
    """Return the index of the vector with the largest product for each of `rows` queries, `chunk` vectors at once."""
    best = np.full(rows, -np.inf, np.float32)
    index = np.zeros(rows, np.int64)
    for start in range(0, len(VECTORS), chunk):
        scores = queries @ VECTORS[start : start + chunk].T
        here = scores.argmax(1)
        value = scores[np.arange(rows), here]
        index = np.where(value > best, start + here, index)
        best = np.maximum(value, best)
    return index


def queries_of(rows: int, seed: int) -> Floats:
    """Return some queries; a real server has its own."""
    return np.random.default_rng(seed).standard_normal((rows, 64), dtype=np.float32)


def tune(store: Any) -> None:
    """Find the configs of the usual sizes: each is measured when it is first called, and proven against the default."""
    search = tuner.autotune(SPACE, key=["rows"], kernel=KERNEL, mode="tune", store=store)(nearest)
    for rows in USUAL_ROWS:
        search(queries_of(rows, 0), rows)


def create_app(lookup: Lookup) -> FastAPI:
    """Return the application; every request is one look into the table of `lookup`."""
    app = FastAPI(title="Nearest vectors")
    registry = CollectorRegistry()
    registry.register(lookup.collector())
    search = tuner.autotune(SPACE, key=["rows"], kernel=KERNEL, store=lookup)(nearest)

    @app.get("/search")
    def find(rows: Annotated[int, Query(ge=1, le=1024)], seed: int = 0) -> dict[str, Any]:
        """The nearest vectors of some queries, and with which config they were found."""
        queries = queries_of(rows, seed)
        # To call `search` alone would do; a request that says with which config it ran asks first.
        choice = search.choice(queries, rows)
        found = nearest(queries, rows, **choice.config)
        return {"indices": found.tolist(), "config": dict(choice.config), "source": choice.source.value}

    @app.get("/metrics")
    def metrics() -> Response:
        """Hits by source, misses and refreshes, for Prometheus."""
        return Response(generate_latest(registry), media_type="text/plain")

    @app.get("/healthz")
    def health() -> dict[str, Any]:
        """Which winners are served: equal digests serve equal configs."""
        return {"winners": len(lookup), "digest": lookup.digest, "problems": lookup.problems}

    return app


def main() -> None:
    """Tune or serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, help="URL or path of the store")
    parser.add_argument("--tune", action="store_true", help="find the configs of the usual sizes, and end")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    if options.tune:
        tune(open_store(options.store))
        return
    # New winners are served within five seconds; without the store, those that were read last.
    last = f"{options.store}.winners.json"
    with Lookup.open(options.store, device="cpu", misses=options.store, last=last, refresh_seconds=5) as lookup:
        uvicorn.run(create_app(lookup), host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()

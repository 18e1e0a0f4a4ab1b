"""The FastAPI application: questions in, answers out; what they mean is decided elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tuner.errors import TunerError
from tuner.lookup import Lookup
from tuner.service.record import Records
from tuner.service.schema import Best, Health, MissEntry, Misses, Problem, WinnerEntry, Winners
from tuner.text import scalar_of
from tuner.types import Scalar, State, Workload

__all__ = ["create_app"]

_KERNEL = "kernel"
_MOST = 10_000
_USUAL = 100

Kernel = Annotated[str, Query(min_length=1, description="cpp:add_rmsnorm, or add_rmsnorm where there is one of it.")]
OneKernel = Annotated[str | None, Query(min_length=1, description="Of this kernel only; its full reference.")]
Limit = Annotated[int, Query(ge=1, le=_MOST, description="List at most so many.")]

# The fields of a workload are parameters of the query, whatever their names.
_WORKLOAD: dict[str, Any] = {
    "name": "workload",
    "in": "query",
    "description": "The workload's fields, each a parameter of its own: `M=1&N=4096&dtype=fp32`.",
    "required": False,
    "style": "form",
    "explode": True,
    "schema": {
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "boolean"}, {"type": "string"}]},
    },
    "examples": {"row": {"summary": "one row of 4096", "value": {"M": 1, "N": 4096, "dtype": "fp32"}}},
}
_Responses = dict[int | str, dict[str, Any]]
_REFUSED: _Responses = {422: {"model": Problem, "description": "The question makes no sense."}}
_UNAVAILABLE: _Responses = {**_REFUSED, 503: {"model": Problem, "description": "The store cannot be read now."}}


def create_app(lookup: Lookup, records: Records) -> FastAPI:
    """Return the application; closing it closes neither.

    Args:
        lookup: What answers.
        records: What lists.

    Example:
        >>> import tempfile
        >>> from fastapi.testclient import TestClient
        >>> from tuner.lookup import Rules, snapshot_of, write_snapshot
        >>> from tuner.service.record import SnapshotRecords
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_snapshot(f"{folder}/winners.json", snapshot_of([]))
        ...     lookup = Lookup.open(f"{folder}/winners.json", kernels={"softmax": Rules({"LANES": 16})})
        >>> client = TestClient(create_app(lookup, SnapshotRecords(lookup)))
        >>> client.get("/v1/best?kernel=softmax&M=128").json()["config"]
        {'LANES': 16}
    """
    registry = CollectorRegistry()
    registry.register(lookup.collector())
    app = FastAPI(
        title="Tuner",
        summary="Which config to use, and why: winners that were proven, and what is missing.",
        version="1",
        license_info={"name": "MIT", "identifier": "MIT"},
    )

    @app.exception_handler(RequestValidationError)
    async def refused(_: Request, error: RequestValidationError) -> JSONResponse:
        """Say in words what was wrong with which parameter."""
        reasons = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"detail": "; ".join(reasons)}, status_code=422)

    @app.get("/v1/best", responses=_REFUSED, openapi_extra={"parameters": [_WORKLOAD]}, tags=["lookup"])
    async def best(request: Request, kernel: Kernel) -> Best:
        """The config to use for a workload: a winner's, else the default."""
        fields = _fields(request.query_params.multi_items())
        return Best.of(kernel, fields, lookup.best(kernel, **fields))

    @app.get("/v1/winners", responses=_UNAVAILABLE, tags=["records"])
    def winners(
        kernel: OneKernel = None,
        state: Annotated[State | None, Query(description="In this state only; all where it is not given.")] = None,
        limit: Limit = _USUAL,
    ) -> Winners:
        """Winners, the newest first."""
        with _available():
            found = records.winners(kernel, state)
        return Winners(winners=[WinnerEntry.of(proof) for proof in found[:limit]], total=len(found))

    @app.get("/v1/misses", responses=_UNAVAILABLE, tags=["records"])
    def misses(kernel: OneKernel = None, limit: Limit = _USUAL) -> Misses:
        """Workloads that were asked for and had no winner, the most asked for first."""
        with _available():
            found = records.misses(kernel, limit)
        return Misses(misses=[MissEntry.of(miss) for miss in found])

    @app.get("/healthz", tags=["operation"])
    async def healthz() -> Health:
        """Whether answers are given. Without its store, a lookup still answers, from what it read last."""
        problems = lookup.problems
        status = "degraded" if problems else "ok"
        return Health(status=status, winners=len(lookup), digest=lookup.digest, problems=problems)

    @app.get(
        "/metrics",
        tags=["operation"],
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
    )
    def metrics() -> Response:
        """The lookup's counts, for Prometheus."""
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    return app


def _fields(items: Sequence[tuple[str, str]]) -> dict[str, Scalar]:
    """Return the workload that a query asks for.

    Raises:
        HTTPException: a field is given twice, or is no name with a value.
    """
    fields: dict[str, Scalar] = {}
    for name, text in items:
        if name == _KERNEL:
            continue
        if name in fields:
            raise HTTPException(422, f"{name} is given twice; give each field of the workload once")
        fields[name] = scalar_of(text)
    try:
        Workload(fields)
    except TunerError as error:
        raise HTTPException(422, str(error)) from error
    return fields


@contextmanager
def _available() -> Iterator[None]:
    """Say that what is kept cannot be read now, and why."""
    try:
        yield
    except TunerError as error:
        raise HTTPException(503, str(error)) from error

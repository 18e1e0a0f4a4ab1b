"""A small server that speaks OpenAI's completions, with options and faults of a real one: for tests of adapters.

Run as `python -m tuner.testing.openai_server --port 8000`. Its times are formulas: a token takes `--token-seconds`
times one plus the share of `--batch` that is being answered, and a request waits while `--max-num-seqs` others are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from enum import StrEnum

from aiohttp import web

__all__ = ["Fault", "main"]


class Fault(StrEnum):
    """What goes wrong."""

    NONE = "none"
    SLOW_START = "slow_start"
    """Takes a minute to start."""
    REFUSES = "refuses"
    """Answers 503 from the first request on, at `/health`, too."""
    DIES = "dies"
    """Is gone in the middle of a stream."""
    EXIT_0 = "exit_0"
    """The same, but with exit status 0, and an error in the log."""
    CUTS = "cuts"
    """Ends streams before their end, and lives on."""
    HANGS = "hangs"
    """Takes requests and never answers."""
    KV_SPACE = "kv_space"
    """Logs that memory is too small and then neither ends nor listens."""
    RAISES = "raises"
    """Its engine refuses the settings."""


def main(arguments: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="openai_server", allow_abbrev=False)
    parser.add_argument("model", nargs="?", default="fake")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--served-model-name", default="fake")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--token-seconds", type=float, default=0.001)
    parser.add_argument("--fault", type=Fault, choices=list(Fault), default=Fault.NONE)
    given = parser.parse_args(arguments)
    match given.fault:
        case Fault.SLOW_START:
            time.sleep(60)
        case Fault.KV_SPACE:
            print("WARNING: the KV cache space is larger than the available memory", flush=True)
            time.sleep(3600)
        case Fault.RAISES:
            raise ValueError(f"max_num_seqs={given.max_num_seqs} is not supported")
    web.run_app(_application(given), host=given.host, port=given.port, print=None, access_log=None, shutdown_timeout=0)


def _application(given: argparse.Namespace) -> web.Application:
    # bfloat16, the default, takes three times as long as float32: as on a CPU that does not have it.
    token_seconds = given.token_seconds * (1.0 if given.dtype == "float32" else 3.0)
    seats = asyncio.Semaphore(given.max_num_seqs)
    asked = 0
    running = 0

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=503 if given.fault is Fault.REFUSES and asked else 200)

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": given.served_model_name}]})

    async def completions(request: web.Request) -> web.StreamResponse:
        nonlocal asked, running
        asked += 1
        body = await request.json()
        if given.fault is Fault.REFUSES:
            return web.Response(status=503, text="the engine is dead")
        if given.fault is Fault.HANGS:
            await asyncio.sleep(3600)
        if body["model"] != given.served_model_name:
            return web.json_response({"error": f"no model {body['model']}"}, status=404)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with seats:
            running += 1
            try:
                for number in range(body["max_tokens"]):
                    await asyncio.sleep(token_seconds * (1 + running / given.batch))
                    if number == 1 and given.fault is Fault.CUTS:
                        return response
                    if number == 1 and given.fault in (Fault.DIES, Fault.EXIT_0):
                        print("RuntimeError: a worker has died", file=sys.stderr, flush=True)
                        os._exit(0 if given.fault is Fault.EXIT_0 else 1)
                    await response.write(_event({"choices": [{"index": 0, "text": " time"}]}))
            finally:
                running -= 1
        prompt = body["prompt"]
        usage = {
            "prompt_tokens": len(prompt.split() if isinstance(prompt, str) else prompt),
            "completion_tokens": body["max_tokens"],
        }
        await response.write(_event({"choices": [], "usage": usage}))
        await response.write(b"data: [DONE]\n\n")
        return response

    application = web.Application()
    application.router.add_get("/health", health)
    application.router.add_get("/v1/models", models)
    application.router.add_post("/v1/completions", completions)
    return application


def _event(data: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


if __name__ == "__main__":
    main()

"""The load client: serves windows of traffic to any server that speaks OpenAI's completions, and times every token."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tuner.engines.base import Window
from tuner.engines.traffic import Limits, Request, Traffic
from tuner.errors import MissingDependencyError

__all__ = ["Answer", "Prompts", "Served", "Target", "serve_window"]

_TEXT = (
    "time year people way day man thing woman life child world school state family student group country problem "
    "hand part place case week company system program question work number night point home water room mother area "
    "money story fact month lot right study book eye job word business issue side kind head house service friend"
)
_WORDS = tuple(_TEXT.split())
_ERROR_CHARACTERS = 300


class Prompts:
    """Makes prompts of a number of tokens: random numbers of tokens where the vocabulary is known, else words.

    Args:
        vocabulary: Tokens that the model knows; 0 for prompts of common English words, each about one token long.
    """

    def __init__(self, vocabulary: int = 0) -> None:
        self._vocabulary = vocabulary

    def text(self, request: Request) -> str | list[int]:
        """Return the prompt of `request`: the same prefix for the same number of it, the rest from its seed."""
        prefix = np.random.default_rng([request.prefix, 1])
        rest = np.random.default_rng([request.seed, 2])
        if not self._vocabulary:
            indices = [
                *prefix.integers(len(_WORDS), size=request.prefix_tokens),
                *rest.integers(len(_WORDS), size=request.prompt_tokens - request.prefix_tokens),
            ]
            return " ".join(_WORDS[index] for index in indices)
        # The first numbers of a vocabulary are special tokens and single bytes in most.
        low = min(300, self._vocabulary // 2)
        return [
            *prefix.integers(low, self._vocabulary, size=request.prefix_tokens).tolist(),
            *rest.integers(low, self._vocabulary, size=request.prompt_tokens - request.prefix_tokens).tolist(),
        ]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go.

    Attributes:
        url: The server's address, without a path.
        model: The model's name there.
        prompts: How prompts are made.
        extra: What else every request says, such as `ignore_eos`.
    """

    url: str
    model: str
    prompts: Prompts = field(default_factory=Prompts)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request.

    Attributes:
        ttft_seconds: From sending it to the first token; of one that failed, the time-out.
        itl_seconds: Gaps between what arrived after that. A server may send several tokens at once.
        e2e_seconds: From sending it to the last token; of one that failed, the time-out.
        tokens: Tokens of the answer.
        error: Why it failed; empty if it did not.
    """

    ttft_seconds: float
    itl_seconds: tuple[float, ...]
    e2e_seconds: float
    tokens: int
    error: str = ""

    @property
    def tpot_seconds(self) -> float:
        """Mean time per token after the first; 0 for an answer of one token, the time-out for one that failed."""
        if self.error:
            return self.e2e_seconds
        return (self.e2e_seconds - self.ttft_seconds) / (self.tokens - 1) if self.tokens > 1 else 0.0

    def is_good(self, limits: Limits) -> bool:
        """Return whether it was answered, and within `limits`."""
        return not self.error and limits.keep(self.ttft_seconds, self.tpot_seconds, self.e2e_seconds)


@dataclass(frozen=True, slots=True)
class Served:
    """One window of traffic, served.

    Attributes:
        answers: One for each request, in the order of sending.
        seconds: From the window's begin to the end of its last request.
    """

    answers: tuple[Answer, ...]
    seconds: float

    @property
    def tokens(self) -> int:
        """Output tokens of all answers."""
        return sum(answer.tokens for answer in self.answers)

    @property
    def errors(self) -> list[str]:
        """What went wrong, a text for each failed request."""
        return [answer.error for answer in self.answers if answer.error]


def serve_window(target: Target, traffic: Traffic, window: Window, *, most_requests: int | None = None) -> Served:
    """Send the requests of `window` to `target` and return their answers.

    Nothing that a server does is an exception: refusals, connections that break, streams that end before their end, and
    requests that time out are answers with an error.

    Args:
        target: Where to.
        traffic: Which requests.
        window: Which part of them.
        most_requests: End after so many, as for warming up; None for all of the window.

    Raises:
        MissingDependencyError: aiohttp is not installed.
    """
    try:
        http = importlib.import_module("aiohttp")
    except ImportError as error:
        raise MissingDependencyError("serving traffic needs aiohttp; pip install 'rltuner[engines]'") from error
    return asyncio.run(_serve(http, target, traffic, window, most_requests))


async def _serve(http: Any, target: Target, traffic: Traffic, window: Window, most_requests: int | None) -> Served:
    requests = traffic.requests(window)
    if most_requests is not None:
        requests = (request for _, request in zip(range(most_requests), requests, strict=False))
    answers: list[Answer | None] = []
    timeout = http.ClientTimeout(total=None)
    # Windows may be minutes apart, and servers close what idles: every window has connections of its own.
    async with http.ClientSession(connector=http.TCPConnector(limit=0), timeout=timeout) as session:
        started = time.perf_counter()
        one = _Sender(session, http.ClientError, target, traffic.timeout_seconds)
        if traffic.is_closed_loop:
            users = [_user(one, requests, answers, started + traffic.seconds) for _ in range(traffic.concurrency)]
            await asyncio.gather(*users)
        else:
            await _arrivals(one, requests, answers, started)
        # An open loop lasts as long as requests may arrive, even if the last of them was answered before.
        ended = time.perf_counter() - started
    done = tuple(answer for answer in answers if answer is not None)
    return Served(done, ended if traffic.is_closed_loop else max(ended, traffic.seconds))


class _Sender:
    """Sends requests and times what comes back."""

    def __init__(self, session: Any, broken: type[Exception], target: Target, timeout_seconds: float) -> None:
        self._session = session
        self._broken = broken
        self._target = target
        self._url = f"{target.url}/v1/completions"
        self._timeout_seconds = timeout_seconds

    async def send(self, request: Request) -> Answer:
        body = {
            "model": self._target.model,
            "prompt": self._target.prompts.text(request),
            "max_tokens": request.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._target.extra,
        }
        arrivals: list[float] = []
        tokens: list[int] = []
        sent = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                error = await self._stream(body, arrivals, tokens)
        except TimeoutError:
            error = f"no answer within {self._timeout_seconds:g} seconds"
        except (self._broken, OSError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"[:_ERROR_CHARACTERS]
        if not error and not arrivals:
            error = "the answer was empty"
        count = tokens[-1] if tokens else len(arrivals)
        if error:
            return Answer(self._timeout_seconds, (), self._timeout_seconds, count, error)
        gaps = tuple(later - earlier for earlier, later in itertools.pairwise(arrivals))
        return Answer(arrivals[0] - sent, gaps, arrivals[-1] - sent, max(count, len(arrivals)), "")

    async def _stream(self, body: Mapping[str, Any], arrivals: list[float], tokens: list[int]) -> str:
        """Note when tokens arrive, and how many the server counts; return what went wrong."""
        async with self._session.post(self._url, json=body) as response:
            if response.status != 200:
                text = (await response.text()).strip().replace("\n", " ")
                return f"HTTP {response.status}: {text}"[:_ERROR_CHARACTERS]
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return ""
                now = time.perf_counter()
                event = json.loads(data)
                if "error" in event:
                    return f"the stream says: {event['error']}"[:_ERROR_CHARACTERS]
                if event.get("choices"):
                    arrivals.append(now)
                if usage := event.get("usage"):
                    tokens.append(int(usage["completion_tokens"]))
        return "the stream ended before its end"


async def _user(sender: _Sender, requests: Iterator[Request], answers: list[Answer | None], until: float) -> None:
    while time.perf_counter() < until:
        request = next(requests, None)
        if request is None:
            return
        place = len(answers)
        answers.append(None)
        answers[place] = answer = await sender.send(request)
        if answer.error:
            # A server that refuses at once must not be asked thousands of times a second.
            await asyncio.sleep(0.05)


async def _arrivals(sender: _Sender, requests: Iterator[Request], answers: list[Answer | None], started: float) -> None:
    async def arrive(place: int, request: Request) -> None:
        answers[place] = await sender.send(request)

    async with asyncio.TaskGroup() as group:
        for request in requests:
            await asyncio.sleep(max(0.0, started + request.at_seconds - time.perf_counter()))
            answers.append(None)
            group.create_task(arrive(len(answers) - 1, request))

"""Traffic: which requests arrive when, as data; the same seed gives the same requests on any machine."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tuner.engines.base import Window
from tuner.engines.source import file_digest
from tuner.errors import WorkloadError
from tuner.types import Scalar

__all__ = ["Arrival", "Lengths", "Limits", "Profile", "Request", "Traffic", "read_traffic"]


class Arrival(StrEnum):
    """When requests arrive."""

    CLOSED_LOOP = "closed_loop"
    """So many users, each of whom asks again when the answer is there."""
    POISSON = "poisson"
    """Independent of each other, at a rate."""
    BURSTY = "bursty"
    """At a rate, in clusters: gaps are gamma-distributed, and vary more than those of Poisson arrivals."""
    REPLAY = "replay"
    """As in a trace."""


class Lengths(StrEnum):
    """How numbers of tokens are distributed around their mean."""

    CONSTANT = "constant"
    UNIFORM = "uniform"
    LOGNORMAL = "lognormal"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request has to keep to count as good; a limit of 0 is none. Errors and time-outs are never good.

    Attributes:
        ttft_seconds: Time to the first token.
        tpot_seconds: Time per output token after the first.
        e2e_seconds: Time to the last token.
    """

    ttft_seconds: float = 0.0
    tpot_seconds: float = 0.0
    e2e_seconds: float = 0.0

    def keep(self, ttft_seconds: float, tpot_seconds: float, e2e_seconds: float) -> bool:
        """Return whether all three are within their limits."""
        pairs = (
            (ttft_seconds, self.ttft_seconds),
            (tpot_seconds, self.tpot_seconds),
            (e2e_seconds, self.e2e_seconds),
        )
        return all(not limit or value <= limit for value, limit in pairs)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        at_seconds: When it arrives, from the start of its window; 0 in a closed loop, where users decide.
        prompt_tokens: Tokens of the prompt, the shared prefix included.
        output_tokens: Tokens of the answer.
        prefix: Which shared prefix it begins with.
        prefix_tokens: How many tokens of that.
        seed: What the rest of the prompt is drawn from.
    """

    at_seconds: float
    prompt_tokens: int
    output_tokens: int
    prefix: int
    prefix_tokens: int
    seed: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests as a server meets them.

    Attributes:
        arrival: When they arrive.
        seconds: Length of a window: requests arrive for so long, and the window ends when the last of them has ended.
        concurrency: Users of a closed loop.
        rate: Requests a second, on average, of Poisson and bursty arrivals.
        burstiness: Variance of the gaps over that of Poisson arrivals; 1 is Poisson.
        prompt_tokens: Mean tokens of a prompt, the shared prefix included.
        prompt_lengths: Their distribution.
        prompt_spread: Its width as a share of the mean: half the range if uniform, standard deviation if log-normal.
        output_tokens: Mean tokens of an answer.
        output_lengths: Their distribution.
        output_spread: Its width.
        most_tokens: No prompt and answer together are longer; 0 for no limit.
        prefix_tokens: Tokens that prompts share, such as a system prompt; 0 for none.
        prefixes: How many different shared prefixes there are.
        timeout_seconds: A request that takes longer is given up, and counts as a miss.
        limits: What makes a request good.
        trace: The file to replay; its columns or keys are `timestamp`, `prompt_tokens` and `output_tokens`.
        trace_digest: Digest of its content, so that what is stored says what was replayed.
        speed: How much faster than recorded a trace is replayed.
        seed: Of all that is drawn.

    Example:
        >>> from tuner.engines import Window
        >>> traffic = Traffic(arrival=Arrival.POISSON, rate=2.0, seconds=10.0)
        >>> requests = list(traffic.requests(Window(0)))
        >>> requests == list(traffic.requests(Window(0)))
        True
        >>> requests == list(traffic.requests(Window(0, held_out=True)))
        False
    """

    arrival: Arrival = Arrival.CLOSED_LOOP
    seconds: float = 10.0
    concurrency: int = 8
    rate: float = 1.0
    burstiness: float = 4.0
    prompt_tokens: int = 128
    prompt_lengths: Lengths = Lengths.CONSTANT
    prompt_spread: float = 0.0
    output_tokens: int = 32
    output_lengths: Lengths = Lengths.CONSTANT
    output_spread: float = 0.0
    most_tokens: int = 0
    prefix_tokens: int = 0
    prefixes: int = 1
    timeout_seconds: float = 30.0
    limits: Limits = Limits()
    trace: str = ""
    trace_digest: str = ""
    speed: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seconds", "rate", "burstiness", "timeout_seconds", "speed"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise WorkloadError(f"{name}={value} is not a positive number")
        for name in ("concurrency", "prompt_tokens", "output_tokens", "prefixes"):
            if getattr(self, name) < 1:
                raise WorkloadError(f"{name}={getattr(self, name)} is not at least 1")
        for name in ("prompt_spread", "output_spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise WorkloadError(f"{name}={getattr(self, name)} is negative; give a share of the mean")
        for name in ("prompt", "output"):
            if getattr(self, f"{name}_lengths") is Lengths.UNIFORM and getattr(self, f"{name}_spread") > 1:
                raise WorkloadError(f"{name}_spread={getattr(self, f'{name}_spread')} of uniform lengths is above 1")
        if self.most_tokens and self.most_tokens < 2:
            raise WorkloadError(f"most_tokens={self.most_tokens} leave no room for a prompt and an answer")
        if not 0 <= self.prefix_tokens < self.prompt_tokens:
            raise WorkloadError(
                f"prefix_tokens={self.prefix_tokens} are not fewer than prompt_tokens={self.prompt_tokens}, which "
                "include them"
            )
        if (self.arrival is Arrival.REPLAY) != bool(self.trace):
            raise WorkloadError(f"arrival={self.arrival.value} with trace={self.trace!r}: a replay needs a trace")

    @property
    def is_closed_loop(self) -> bool:
        """Whether users wait for answers before they ask again."""
        return self.arrival is Arrival.CLOSED_LOOP

    def requests(self, window: Window) -> Iterator[Request]:
        """Yield the requests of `window` in the order of arrival: without end in a closed loop.

        The two sides of the divide share no request. Of a trace, trials replay the first half and proofs the second.

        Raises:
            WorkloadError: the trace cannot be read, or is not the one that the digest names.
        """
        random = np.random.default_rng([self.seed, window.seed, int(window.held_out)])
        if self.arrival is Arrival.REPLAY:
            yield from self._replayed(window, random)
            return
        clock = 0.0
        while True:
            if not self.is_closed_loop:
                clock += self._gap(random)
                if clock >= self.seconds:
                    return
            prompt = _length(random, self.prompt_tokens, self.prompt_lengths, self.prompt_spread)
            output = _length(random, self.output_tokens, self.output_lengths, self.output_spread)
            yield self._request(random, clock, prompt, output)

    def to_fields(self, *, whole: bool = False) -> dict[str, Scalar]:
        """Return scalars for a `Workload`, which `from_fields` reads back; limits as `ttft_limit_seconds` and so on.

        Args:
            whole: Also what has its default; without it, so that keys of stored workloads stay when a field is added.
        """
        values = _fields(self)
        return values if whole else {name: value for name, value in values.items() if value != _fields(Traffic())[name]}

    @classmethod
    def from_fields(cls, given: Mapping[str, Any]) -> Traffic:
        """Read what `to_fields` wrote, or part of it; what is missing has its default.

        Raises:
            WorkloadError: a field is unknown, or has a value that it does not take.
        """
        defaults = cls().to_fields(whole=True)
        values: dict[str, Any] = {}
        limits: dict[str, float] = {}
        for name, value in given.items():
            if name not in defaults:
                raise WorkloadError(f"traffic has no field {name!r}; it has: {', '.join(defaults)}")
            if name in _LIMITS:
                limits[_LIMITS[name]] = float(_typed(name, value, float))
            else:
                values[name] = _typed(name, value, type(defaults[name]))
        if values.get("arrival") is Arrival.REPLAY and values.get("trace") and not values.get("trace_digest"):
            values["trace_digest"] = file_digest(Path(values["trace"]))
        return cls(**values, limits=Limits(**limits))

    def _gap(self, random: np.random.Generator) -> float:
        if self.arrival is Arrival.POISSON:
            return float(random.exponential(1 / self.rate))
        # A gamma's squared coefficient of variation is 1 / shape, and that of exponential gaps is 1.
        return float(random.gamma(1 / self.burstiness, self.burstiness / self.rate))

    def _request(self, random: np.random.Generator, at: float, prompt: int, output: int) -> Request:
        if self.most_tokens:
            output = min(output, self.most_tokens - 1)
            prompt = min(prompt, self.most_tokens - output)
        prefix = int(random.integers(self.prefixes)) if self.prefix_tokens else 0
        # A prompt has a token of its own, so that no two are the same.
        shared = max(0, min(self.prefix_tokens, prompt - 1))
        return Request(at, prompt, output, prefix, shared, int(random.integers(2**63)))

    def _replayed(self, window: Window, random: np.random.Generator) -> Iterator[Request]:
        if file_digest(Path(self.trace)) != self.trace_digest:
            raise WorkloadError(f"{self.trace} is not the trace it was: its digest is not {self.trace_digest}")
        rows = _read_trace(Path(self.trace))
        half = [row for row in rows if (row[0] >= rows[-1][0] / 2) == window.held_out]
        begin = half[0][0]
        span = max(half[-1][0] - begin, 1e-9) / self.speed
        # A window is a stretch of the half, and all of a half that is shorter.
        start = float(random.uniform(0, span - self.seconds)) if span > self.seconds else 0.0
        for at, prompt, output in half:
            seconds = (at - begin) / self.speed - start
            if 0 <= seconds < self.seconds:
                yield self._request(random, seconds, prompt, output)


_ENUMS: Mapping[str, type[Arrival] | type[Lengths]] = {
    "arrival": Arrival,
    "prompt_lengths": Lengths,
    "output_lengths": Lengths,
}


def _typed(name: str, value: Any, kind: type) -> Any:
    """Return `value` as a field has it, or refuse it."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise WorkloadError(f"{name}={value!r} of the traffic is not a {kind.__name__}")
    if name not in _ENUMS:
        return value
    try:
        return _ENUMS[name](str(value))
    except ValueError:
        choices = ", ".join(one.value for one in _ENUMS[name])
        raise WorkloadError(f"{name}={value!r} of the traffic is not one of: {choices}") from None


def _limit_field(name: str) -> str:
    return name.replace("_seconds", "_limit_seconds")


_LIMITS = {_limit_field(field.name): field.name for field in fields(Limits)}


@dataclass(frozen=True, slots=True)
class Profile:
    """Traffic under a name, with the share of time that it has among a campaign's profiles."""

    name: str
    traffic: Traffic
    share: float = 1.0


def read_traffic(path: Path) -> list[Profile]:
    """Return the profiles in a YAML or JSON file: the fields of one `Traffic`, or `profiles`, each with such fields.

    A profile may say its `share` of the time; shares are brought to a sum of 1. A relative path of a trace is seen from
    the file's folder.

    Raises:
        WorkloadError: the file cannot be read, or has a field that traffic does not have.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise WorkloadError(f"cannot read the traffic {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise WorkloadError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(data, dict):
        raise WorkloadError(f"{path} holds no fields of traffic, such as `concurrency: 8`")
    named = data.get("profiles", {path.stem: data})
    if not isinstance(named, dict) or not named or not all(isinstance(one, dict) for one in named.values()):
        raise WorkloadError(f"profiles of {path} are not names with fields of traffic below them")
    if "profiles" in data and len(data) > 1:
        raise WorkloadError(f"{path} has profiles and, beside them, {', '.join(sorted(set(data) - {'profiles'}))}")
    shares = {name: given.get("share", 1.0) for name, given in named.items()}
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < math.inf:
            raise WorkloadError(f"share={share!r} of profile {name} in {path} is not a positive number")
    profiles = []
    for name, given in named.items():
        values = {key: value for key, value in given.items() if key != "share"}
        if isinstance(values.get("trace"), str) and values["trace"]:
            values["trace"] = str((path.parent / values["trace"]).resolve())
        try:
            profiles.append(Profile(str(name), Traffic.from_fields(values), shares[name] / sum(shares.values())))
        except WorkloadError as error:
            raise WorkloadError(f"{path}, profile {name}: {error}") from error
    return profiles


def _fields(traffic: Traffic) -> dict[str, Scalar]:
    values = asdict(traffic)
    limits = values.pop("limits")
    values |= {_limit_field(name): value for name, value in limits.items()}
    return {name: str(value) if isinstance(value, StrEnum) else value for name, value in values.items()}


def _length(random: np.random.Generator, mean: int, lengths: Lengths, spread: float) -> int:
    if lengths is Lengths.CONSTANT or spread == 0:
        return mean
    if lengths is Lengths.UNIFORM:
        drawn = mean * random.uniform(1 - spread, 1 + spread)
    else:
        variance = math.log1p(spread**2)
        drawn = random.lognormal(math.log(mean) - variance / 2, math.sqrt(variance))
    return max(1, round(drawn))


def _read_trace(path: Path) -> list[tuple[float, int, int]]:
    """Return rows of seconds from the first request, prompt tokens and output tokens, by time."""
    text = path.read_text()
    try:
        rows: Sequence[Mapping[str, Any]]
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(text.splitlines()))
        read = sorted((float(r["timestamp"]), int(r["prompt_tokens"]), int(r["output_tokens"])) for r in rows)
    except (KeyError, TypeError, ValueError) as error:
        raise WorkloadError(
            f"{path} is no trace: {error}; it needs timestamp (seconds), prompt_tokens and output_tokens in every row, "
            "as CSV with a header or, named .jsonl, a JSON object a line"
        ) from error
    if len(read) < 2 or read[0][0] == read[-1][0]:
        raise WorkloadError(f"{path} has fewer than two requests at different times; a trace has to have halves")
    return [(at - read[0][0], prompt, output) for at, prompt, output in read if prompt > 0 and output > 0]

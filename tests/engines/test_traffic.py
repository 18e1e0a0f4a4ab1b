from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.engines import Window
from tuner.engines.source import file_digest
from tuner.engines.traffic import Arrival, Lengths, Limits, Request, Traffic, read_traffic
from tuner.errors import WorkloadError

MOST = 500

traffics = st.builds(
    Traffic,
    arrival=st.sampled_from([Arrival.CLOSED_LOOP, Arrival.POISSON, Arrival.BURSTY]),
    seconds=st.floats(0.5, 20),
    concurrency=st.integers(1, 64),
    rate=st.floats(0.1, 20),
    burstiness=st.floats(0.5, 20),
    prompt_tokens=st.integers(20, 400),
    prompt_lengths=st.sampled_from(Lengths),
    prompt_spread=st.floats(0, 1),
    output_tokens=st.integers(1, 200),
    output_lengths=st.sampled_from(Lengths),
    output_spread=st.floats(0, 1),
    most_tokens=st.sampled_from([0, 256]),
    prefix_tokens=st.integers(0, 19),
    prefixes=st.integers(1, 4),
    limits=st.builds(Limits, st.floats(0, 2), st.floats(0, 1), st.floats(0, 9)),
    seed=st.integers(0, 2**31),
)


def some(traffic: Traffic, window: Window) -> list[Request]:
    return list(itertools.islice(traffic.requests(window), MOST))


@given(traffics, st.integers(0, 2**62))
def test_requests_are_those_of_the_seed(traffic: Traffic, seed: int) -> None:
    window = Window(seed)
    requests = some(traffic, window)
    assert requests == some(traffic, window)
    seeds = {request.seed for request in requests}
    assert seeds.isdisjoint(request.seed for request in some(traffic, Window(seed + 1)))
    assert seeds.isdisjoint(request.seed for request in some(traffic, Window(seed, held_out=True)))
    for request in requests:
        assert 0 <= request.at_seconds < traffic.seconds
        assert request.prompt_tokens >= 1
        assert request.output_tokens >= 1
        assert 0 <= request.prefix < traffic.prefixes
        assert request.prefix_tokens < request.prompt_tokens
        assert not traffic.most_tokens or request.prompt_tokens + request.output_tokens <= traffic.most_tokens
    times = [request.at_seconds for request in requests]
    assert times == sorted(times)
    assert traffic.is_closed_loop == (times == [0.0] * MOST)


@given(traffics)
def test_fields_bring_traffic_back(traffic: Traffic) -> None:
    assert Traffic.from_fields(traffic.to_fields()) == traffic
    assert Traffic.from_fields(traffic.to_fields(whole=True)) == traffic
    assert json.loads(json.dumps(traffic.to_fields())) == traffic.to_fields()


def test_what_has_its_default_is_no_field() -> None:
    assert Traffic().to_fields() == {}
    assert Traffic(concurrency=9, limits=Limits(ttft_seconds=0.5)).to_fields() == {
        "concurrency": 9,
        "ttft_limit_seconds": 0.5,
    }


@pytest.mark.parametrize(("arrival", "variance"), [(Arrival.POISSON, 1.0), (Arrival.BURSTY, 9.0)])
def test_arrivals_have_their_rate_and_their_variance(arrival: Arrival, variance: float) -> None:
    traffic = Traffic(arrival=arrival, rate=50.0, burstiness=9.0, seconds=400.0)
    times = [request.at_seconds for request in traffic.requests(Window(3))]
    gaps = np.diff(times)
    assert len(times) / traffic.seconds == pytest.approx(50, rel=0.1)
    assert float(np.var(gaps) / np.mean(gaps) ** 2) == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize(("lengths", "spread"), [(Lengths.UNIFORM, 0.5), (Lengths.LOGNORMAL, 0.5)])
def test_lengths_have_their_mean_and_their_spread(lengths: Lengths, spread: float) -> None:
    traffic = Traffic(prompt_tokens=400, prompt_lengths=lengths, prompt_spread=spread)
    drawn = [request.prompt_tokens for request in itertools.islice(traffic.requests(Window(5)), 8000)]
    assert np.mean(drawn) == pytest.approx(400, rel=0.03)
    if lengths is Lengths.UNIFORM:
        assert min(drawn) >= 200
        assert max(drawn) <= 600
    else:
        assert np.std(drawn) == pytest.approx(200, rel=0.1)


def trace(folder: Path, name: str = "trace.csv") -> Path:
    """Write 100 requests, one a second; the second half has longer prompts."""
    rows = [(1000.0 + second, 10 if second < 50 else 90, 5) for second in range(100)]
    path = folder / name
    if name.endswith(".jsonl"):
        keys = ("timestamp", "prompt_tokens", "output_tokens")
        path.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    else:
        path.write_text("timestamp,prompt_tokens,output_tokens\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    return path


@pytest.mark.parametrize("name", ["trace.csv", "trace.jsonl"])
def test_trials_replay_one_half_of_a_trace_and_proofs_the_other(tmp_path: Path, name: str) -> None:
    fields = {"arrival": "replay", "trace": str(trace(tmp_path, name)), "seconds": 10.0}
    traffic = Traffic.from_fields(fields)
    for seed in range(5):
        seen, held_out = (list(traffic.requests(Window(seed, held_out=side))) for side in (False, True))
        assert len(seen) in (10, 11)
        assert {request.prompt_tokens for request in seen} == {10}
        assert {request.prompt_tokens for request in held_out} == {90}
        gaps = np.diff([request.at_seconds for request in seen])
        assert gaps == pytest.approx(1.0)


def test_a_trace_may_be_replayed_faster(tmp_path: Path) -> None:
    fields = {"arrival": "replay", "trace": str(trace(tmp_path)), "seconds": 10.0, "speed": 4}
    assert len(list(Traffic.from_fields(fields).requests(Window(0)))) in (40, 41)


def test_a_trace_that_changed_is_refused(tmp_path: Path) -> None:
    path = trace(tmp_path)
    traffic = Traffic.from_fields({"arrival": "replay", "trace": str(path)})
    assert traffic.trace_digest == file_digest(path)
    path.write_text(path.read_text() + "2000,1,1\n")
    with pytest.raises(WorkloadError, match="not the trace it was"):
        next(traffic.requests(Window(0)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arival": "poisson"}, "no field 'arival'"),
        ({"arrival": "often"}, "'often' of the traffic is not one of: closed_loop"),
        ({"concurrency": 0}, "concurrency=0 is not at least 1"),
        ({"concurrency": "8"}, "is not a int"),
        ({"seconds": -1}, "seconds=-1.0 is not a positive number"),
        ({"prefix_tokens": 200}, "not fewer than prompt_tokens=128"),
        ({"arrival": "replay"}, "a replay needs a trace"),
        ({"arrival": "replay", "trace": "nowhere.csv"}, "cannot read nowhere.csv"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        Traffic.from_fields(fields)


def test_a_file_holds_one_profile_or_several(tmp_path: Path) -> None:
    one = tmp_path / "chat.yaml"
    one.write_text("concurrency: 4\nttft_limit_seconds: 0.5\n")
    [profile] = read_traffic(one)
    assert (profile.name, profile.share, profile.traffic.limits.ttft_seconds) == ("chat", 1.0, 0.5)

    trace(tmp_path)
    several = tmp_path / "several.json"
    profiles = {
        "chat": {"rate": 2.0, "arrival": "poisson", "share": 3},
        "log": {"arrival": "replay", "trace": "trace.csv"},
    }
    several.write_text(json.dumps({"profiles": profiles}))
    chat, log = read_traffic(several)
    assert (chat.share, log.share) == (0.75, 0.25)
    assert log.traffic.trace == str(tmp_path / "trace.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "holds no fields"),
        ("concurrency: x", "profile traffic: concurrency='x'"),
        ("profiles: {}", "are not names"),
        ("profiles: {a: {share: 0}}", "share=0"),
        ("profiles: {a: {}}\nrate: 1", "beside them, rate"),
        ("a: [", "neither YAML nor JSON"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "traffic.yaml"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=message):
        read_traffic(path)

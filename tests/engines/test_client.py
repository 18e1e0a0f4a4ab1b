from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tuner.engines import Window
from tuner.engines.client import Answer, Prompts, Served, Target, serve_window
from tuner.engines.process import ServerCommand, ServerProcess
from tuner.engines.traffic import Arrival, Limits, Request, Traffic
from tuner.testing.openai_server import Fault

LOAD = Traffic(concurrency=3, seconds=0.5, prompt_tokens=9, output_tokens=6, timeout_seconds=5.0)


def fake(*options: str) -> ServerCommand:
    return ServerCommand((sys.executable, "-m", "tuner.testing.openai_server", "--port", "{port}", *options))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ServerProcess(fake()) as server:
        yield server.url


def served(fault: Fault, traffic: Traffic = LOAD) -> tuple[Served, str, int | None]:
    """Return one window of a server with a fault, with how the server did and ended."""
    with ServerProcess(fake("--fault", fault)) as server:
        window = serve_window(Target(server.url, "fake"), traffic, Window(0))
        return window, server.failure(), server.exit_code


def test_every_request_is_timed(url: str) -> None:
    window = serve_window(Target(url, "fake"), LOAD, Window(0))
    assert len(window.answers) >= 3
    assert window.errors == []
    assert window.seconds >= LOAD.seconds
    assert window.tokens == 6 * len(window.answers)
    for answer in window.answers:
        assert answer.tokens == 6
        assert len(answer.itl_seconds) == 5
        assert 0 < answer.ttft_seconds < answer.e2e_seconds
        assert answer.e2e_seconds == pytest.approx(answer.ttft_seconds + sum(answer.itl_seconds))
        assert answer.tpot_seconds == pytest.approx(sum(answer.itl_seconds) / 5)


def test_an_open_loop_sends_every_request_and_waits_for_it(url: str) -> None:
    traffic = replace(LOAD, arrival=Arrival.POISSON, rate=40.0)
    window = serve_window(Target(url, "fake"), traffic, Window(0))
    assert len(window.answers) == len(list(traffic.requests(Window(0)))) > 5
    assert window.errors == []
    assert window.seconds >= traffic.seconds


def test_warming_up_ends_after_some_requests(url: str) -> None:
    assert len(serve_window(Target(url, "fake"), replace(LOAD, seconds=60.0), Window(0), most_requests=4).answers) == 4


def test_a_model_that_is_not_there_is_an_error_with_the_servers_words(url: str) -> None:
    window = serve_window(Target(url, "other"), LOAD, Window(0))
    assert len(window.errors) == len(window.answers) > 0
    assert window.errors[0].startswith("HTTP 404")
    assert "no model other" in window.errors[0]


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault.REFUSES, "HTTP 503: the engine is dead"), (Fault.CUTS, "ended before its end"), (Fault.HANGS, "no answer")],
)
def test_a_fault_is_an_answer_with_an_error(fault: Fault, error: str) -> None:
    window, _, _ = served(fault, replace(LOAD, timeout_seconds=0.7))
    assert len(window.answers) >= 3
    assert all(error in text for text in window.errors)
    assert len(window.errors) == len(window.answers)
    assert all(answer.e2e_seconds == answer.ttft_seconds == 0.7 for answer in window.answers)


@pytest.mark.parametrize(("fault", "code"), [(Fault.DIES, 1), (Fault.EXIT_0, 0)])
def test_a_server_that_dies_in_a_stream_is_noticed_whatever_its_exit_code(fault: Fault, code: int) -> None:
    window, failure, exit_code = served(fault)
    assert len(window.errors) == len(window.answers) > 0
    assert failure == f"the server ended with status {code}: RuntimeError: a worker has died"
    assert exit_code == code


def test_a_server_that_refuses_is_not_well() -> None:
    _, failure, exit_code = served(Fault.REFUSES)
    assert failure == "the server does not answer"
    assert exit_code is None


def test_errors_and_time_outs_are_never_good() -> None:
    none = Limits()
    assert Answer(0.1, (0.1,), 0.2, 2).is_good(none)
    assert not Answer(0.1, (0.1,), 0.2, 2, "gone").is_good(none)
    assert Answer(0.1, (0.1,), 0.2, 2).is_good(Limits(0.1, 0.1001, 0.2))
    for limits in (Limits(ttft_seconds=0.09), Limits(tpot_seconds=0.09), Limits(e2e_seconds=0.19)):
        assert not Answer(0.1, (0.1,), 0.2, 2).is_good(limits)


@pytest.mark.parametrize("vocabulary", [0, 1000])
def test_prompts_share_prefixes_and_nothing_else(vocabulary: int) -> None:
    prompts = Prompts(vocabulary)

    def parts(request: Request) -> list[object]:
        text = prompts.text(request)
        return list(text.split() if isinstance(text, str) else text)

    one, same, other = (Request(0.0, 40, 1, prefix, 20, seed) for prefix, seed in ((0, 1), (0, 2), (1, 3)))
    assert len(parts(one)) == 40
    assert parts(one)[:20] == parts(same)[:20] != parts(other)[:20]
    assert parts(one)[20:] != parts(same)[20:]
    assert prompts.text(one) == prompts.text(one)

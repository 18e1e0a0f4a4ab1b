from __future__ import annotations

from concurrent.futures import CancelledError, Future

import pytest

from tuner.runners.futures import chain, gather, then


def done(value: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(value)
    return future


def test_then_maps_the_result() -> None:
    assert then(done(2), lambda value: value + 1).result(timeout=1) == 3


def test_then_passes_on_what_the_function_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        then(done(0), lambda value: 1 // value).result(timeout=1)


def test_chain_waits_for_the_second_future() -> None:
    second: Future[str] = Future()
    outer = chain(done(1), lambda _: second)
    assert not outer.done()
    second.set_result("end")
    assert outer.result(timeout=1) == "end"


@pytest.mark.parametrize("where", ["first", "start", "second"])
def test_chain_passes_on_failures_of_every_link(where: str) -> None:
    first: Future[int] = Future()
    second: Future[int] = Future()

    def start(_: int) -> Future[int]:
        if where == "start":
            raise ValueError(where)
        return second

    outer = chain(first, start)
    if where == "first":
        first.set_exception(ValueError(where))
    else:
        first.set_result(1)
        second.set_exception(ValueError(where)) if where == "second" else None
    with pytest.raises(ValueError, match=where):
        outer.result(timeout=1)


def test_gather_keeps_the_order() -> None:
    futures: list[Future[int]] = [Future() for _ in range(3)]
    outer = gather(futures)
    for value in (2, 0, 1):
        assert not outer.done()
        futures[value].set_result(value)
    assert outer.result(timeout=1) == [0, 1, 2]


def test_gather_passes_on_a_failure() -> None:
    failed: Future[int] = Future()
    failed.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        gather([done(1), failed]).result(timeout=1)


def test_a_cancelled_link_cancels_the_end() -> None:
    first: Future[int] = Future()
    ends: list[Future[int]] = [then(first, int), chain(first, done)]
    both = gather([first, done(1)])
    first.cancel()
    first.set_running_or_notify_cancel()
    for end in ends:
        with pytest.raises(CancelledError):
            end.result(timeout=1)
    with pytest.raises(CancelledError):
        both.result(timeout=1)

"""Chaining `concurrent.futures.Future`: what fails or is cancelled on the way reaches the end of the chain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["chain", "gather", "then"]

T = TypeVar("T")
U = TypeVar("U")


def then(future: Future[T], function: Callable[[T], U]) -> Future[U]:
    """Return the future of `function(result)`, called in the thread that finishes `future`."""
    outer: Future[U] = Future()

    def forward(inner: Future[T]) -> None:
        if inner.cancelled():
            outer.cancel()
            return
        # A callback's own exception would vanish, and whoever waits would wait for ever.
        try:
            outer.set_result(function(inner.result()))
        except BaseException as error:
            outer.set_exception(error)

    future.add_done_callback(forward)
    return outer


def chain(future: Future[T], start: Callable[[T], Future[U]]) -> Future[U]:
    """Return the future of the future that `start(result)` returns."""
    outer: Future[U] = Future()

    def finish(inner: Future[U]) -> None:
        if inner.cancelled():
            outer.cancel()
        elif error := inner.exception():
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    def begin(started: Future[Future[U]]) -> None:
        if started.cancelled():
            outer.cancel()
        elif error := started.exception():
            outer.set_exception(error)
        else:
            started.result().add_done_callback(finish)

    then(future, start).add_done_callback(begin)
    return outer


def gather(futures: Sequence[Future[T]]) -> Future[list[T]]:
    """Return the future of all results in order, or of the first failure."""
    outer: Future[list[T]] = Future()
    lock = threading.Lock()
    waiting = len(futures)

    def count(inner: Future[T]) -> None:
        nonlocal waiting
        with lock:
            waiting -= 1
            last = waiting == 0
        if not last:
            return
        for future in futures:
            if future.cancelled():
                outer.cancel()
                return
            if error := future.exception():
                outer.set_exception(error)
                return
        outer.set_result([future.result() for future in futures])

    for future in futures:
        future.add_done_callback(count)
    return outer

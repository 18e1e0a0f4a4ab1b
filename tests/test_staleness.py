"""What has changed since a winner was proven."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.staleness import IGNORED, VERSION, Change, changes, differences
from tuner.testing.store import make_task, make_winner
from tuner.types import Winner

THEN = {
    "compiler": "gcc 12.2",
    "cuda_driver": "12.4",
    "triton": "3.4.0",
    "torch": "2.13.0",
    "system": "Linux 6.1",
    "tuner": "1",
}
ENVIRONMENTS = st.dictionaries(st.sampled_from(sorted(THEN)), st.sampled_from(["1", "2"]))


def winner() -> Winner:
    found = make_winner(make_task(version="v1", environment=THEN))
    assert found.evidence.environment == THEN
    return found


@pytest.mark.parametrize("name", ["compiler", "cuda_driver", "triton", "torch"])
def test_another_tool_makes_a_winner_stale(name: str) -> None:
    assert changes(winner(), "v1", {**THEN, name: "another"}) == (Change(name, THEN[name], "another"),)


def test_another_source_makes_a_winner_stale() -> None:
    assert changes(winner(), "v2", THEN) == (Change(VERSION, "v1", "v2"),)


def test_what_is_the_same_is_not_stale() -> None:
    assert changes(winner(), "v1", THEN) == ()


@pytest.mark.parametrize("name", sorted(IGNORED))
def test_what_does_not_matter_does_not_unless_asked_for(name: str) -> None:
    now = {**THEN, name: "another"}
    assert changes(winner(), "v1", now) == ()
    assert [change.name for change in changes(winner(), "v1", now, ignored=())] == [name]


def test_what_nobody_knows_is_not_stale() -> None:
    """A serving machine has no compiler, no kernel; a winner from elsewhere tells no environment."""
    assert changes(winner(), None, {}) == ()
    foreign = replace(winner(), evidence=replace(winner().evidence, environment={}))
    assert changes(foreign, "v1", THEN) == ()


@given(ENVIRONMENTS, ENVIRONMENTS)
def test_differences_are_what_both_tell_differently(then: dict[str, str], now: dict[str, str]) -> None:
    expected = {name for name in then.keys() & now.keys() if then[name] != now[name] and name not in IGNORED}
    assert {change.name for change in differences(then, now)} == expected
    assert {change.name for change in differences(now, then)} == expected
    assert differences(then, then) == ()


def test_serving_code_may_import_it() -> None:
    heavy = "import sys, tuner.staleness; print({'numpy', 'sqlalchemy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

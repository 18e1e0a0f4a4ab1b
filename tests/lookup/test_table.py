from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.lookup.proofs import AMD, GPU, OLDER, OTHER, proof
from tuner.lookup import Elsewhere, Policy, Proof, Rules, Source, Stale, snapshot_of
from tuner.lookup.report import Once
from tuner.lookup.table import Table
from tuner.types import Config, Device, Scalar, State

ASKED: dict[str, Scalar] = {"M": 16, "N": 4096, "dtype": "bf16"}
RULES = Rules({"BLOCK": 32}, lambda config, workload: int(config["BLOCK"]) <= 4 * int(workload["M"]))


def table(*proofs: Proof, device: Device = GPU, rules: Rules | None = RULES, policy: Policy = Policy()) -> Table:
    guards = {} if rules is None else {"triton:matmul": rules}
    return Table(snapshot_of(proofs), device, guards, policy, Once(logging.getLogger("tests")))


def test_the_order_is_exact_nearest_compatible_default_unknown() -> None:
    here, near, there = proof(1, 64), proof(2, 32, M=32, N=4096, dtype="bf16"), proof(3, 16, device=OTHER)
    everything = [here, near, there]
    expected = [(Source.EXACT, 1, 0.0), (Source.NEAREST, 2, 1.0), (Source.COMPATIBLE, 3, 0.0)]
    for source, number, distance in expected:
        choice = table(*everything).find("triton:matmul", ASKED)
        assert choice.winner is not None
        assert (choice.source, choice.winner.id, choice.distance) == (source, number, distance)
        assert choice.config == choice.winner.config
        everything.pop(0)
    choice = table().find("triton:matmul", ASKED)
    assert (choice.source, choice.config, choice.winner) == (Source.DEFAULT, Config(BLOCK=32), None)
    choice = table(rules=None).find("triton:matmul", ASKED)
    assert (choice.source, choice.config) == (Source.UNKNOWN, Config())


def test_the_order_of_fields_does_not_matter_and_types_do() -> None:
    answers = table(proof(1, M=1, causal=True), rules=None)
    assert answers.find("triton:matmul", {"causal": True, "M": 1}).source is Source.EXACT
    for fields in ({"causal": 1, "M": 1}, {"causal": True, "M": 1.0}, {"causal": True, "M": True}):
        assert answers.find("triton:matmul", fields).source is not Source.EXACT


def test_numbers_of_numpy_and_members_of_enums_are_what_they_stand_for() -> None:
    import numpy as np

    answers = table(proof(1))
    fields: dict[str, Any] = {"M": np.int64(16), "N": np.int32(4096), "dtype": np.str_("bf16")}
    assert answers.find("triton:matmul", fields).source is Source.EXACT


def test_an_operator_alone_is_enough_where_there_is_one() -> None:
    assert table(proof()).find("matmul", ASKED).source is Source.EXACT
    both = table(proof(), proof(kernel="cuda:matmul"))
    assert both.find("matmul", ASKED).source is Source.UNKNOWN
    assert both.find("cuda:matmul", ASKED).source is Source.EXACT


def test_a_near_config_that_is_not_valid_is_passed_over() -> None:
    answers = table(proof(1, 128, M=32, N=4096, dtype="bf16"), proof(2, 64, M=64, N=4096, dtype="bf16"))
    choice = answers.find("triton:matmul", ASKED)
    assert choice.winner is not None
    assert (choice.source, choice.winner.id, choice.distance) == (Source.NEAREST, 2, 2.0)
    assert answers.find("triton:matmul", {**ASKED, "M": 8}).source is Source.DEFAULT


def test_categories_must_match_and_names_too() -> None:
    answers = table(proof())
    for fields in ({**ASKED, "dtype": "fp32"}, {"M": 16, "N": 4096}, {**ASKED, "K": 1}):
        assert answers.find("triton:matmul", fields).source is Source.DEFAULT


def test_nobody_vouches_for_a_near_config_without_a_guard() -> None:
    answers = table(proof(1), rules=None)
    choice = answers.find("triton:matmul", {**ASKED, "M": 17})
    assert (choice.source, choice.config) == (Source.DEFAULT, Config(BLOCK=32, num_warps=4))
    two = table(proof(1), proof(2, M=5, N=5, dtype="bf16", default=Config(BLOCK=16)), rules=None)
    assert two.find("triton:matmul", {**ASKED, "M": 17}).source is Source.UNKNOWN


@pytest.mark.parametrize(
    ("there", "elsewhere", "found"),
    [
        (OTHER, Elsewhere.FAMILY, True),
        (OTHER, Elsewhere.NEVER, False),
        (OLDER, Elsewhere.FAMILY, False),
        (OLDER, Elsewhere.ANY, True),
        (AMD, Elsewhere.FAMILY, False),
        (AMD, Elsewhere.ANY, True),
    ],
)
def test_other_devices_as_configured(there: Device, elsewhere: Elsewhere, found: bool) -> None:
    answers = table(proof(device=there), policy=Policy(elsewhere=elsewhere))
    assert (answers.find("triton:matmul", ASKED).source is Source.COMPATIBLE) is found


def test_a_compatible_config_must_be_valid_here() -> None:
    assert table(proof(1, 128, device=OTHER)).find("triton:matmul", ASKED).source is Source.DEFAULT
    assert table(proof(1, device=OTHER), rules=None).find("triton:matmul", ASKED).source is not Source.COMPATIBLE


def test_a_winner_of_another_driver_is_stale_and_a_fresh_one_comes_first() -> None:
    now = replace(GPU, environment={"triton": "3.6.0", "driver": "590"})
    assert table(proof(), device=now).find("triton:matmul", ASKED).source is Source.EXACT_STALE
    near = table(proof(), device=now).find("triton:matmul", {**ASKED, "M": 17})
    assert near.source is Source.NEAREST_STALE
    skipping = table(proof(), device=now, policy=Policy(stale=Stale.SKIP))
    assert skipping.find("triton:matmul", ASKED).source is Source.DEFAULT
    both = table(proof(2), proof(1, 128, device=now), device=now).find("triton:matmul", ASKED)
    assert (both.source, both.config["BLOCK"]) == (Source.EXACT, 128)


def test_a_winner_of_another_version_is_stale_and_must_still_be_valid() -> None:
    rules = replace(RULES, version="v2")
    assert table(proof(1, 64), rules=rules).find("triton:matmul", ASKED).source is Source.EXACT_STALE
    assert table(proof(1, 128), rules=rules).find("triton:matmul", ASKED).source is Source.DEFAULT


@pytest.mark.parametrize("state", [State.CANDIDATE, State.QUARANTINED, State.RETIRED])
def test_only_promoted_winners_are_served(state: State) -> None:
    assert table(proof(state=state)).find("triton:matmul", ASKED).source is Source.DEFAULT


def test_what_a_guard_raises_is_logged_once_and_never_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("the rule is broken")

    answers = table(proof(), rules=Rules(broken, broken))
    for m in range(17, 27):
        assert answers.find("triton:matmul", {**ASKED, "M": m}).source is Source.UNKNOWN
    assert len(caplog.records) == 2  # one of the default, one of the constraints


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, (1, 2), object(), float("nan"), float("inf")])
def test_a_field_of_a_wrong_type_is_answered(value: Any) -> None:
    for rules in (RULES, None):
        choice = table(proof(), rules=rules).find("triton:matmul", {**ASKED, "M": value})
        assert choice.source in (Source.UNKNOWN, Source.DEFAULT)


def test_a_policy_of_distance() -> None:
    answers = table(proof(), policy=Policy(doublings=1.0))
    assert answers.find("triton:matmul", {**ASKED, "M": 32}).source is Source.NEAREST
    assert answers.find("triton:matmul", {**ASKED, "M": 33}).source is Source.DEFAULT

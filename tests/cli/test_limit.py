from __future__ import annotations

import pytest

from tuner.campaign import task_of
from tuner.cli.limit import Limits, parse_limits
from tuner.errors import TunerError
from tuner.objective import Limit, Statistic


def test_words_become_limits() -> None:
    limits = parse_limits(["rel_error<1e-2", "code_bytes < 100000", "p99:seconds<=0.01", "max:seconds<1"])
    assert limits.rel_error == 0.01
    assert limits.objective == (
        Limit("code_bytes", 1e5),
        Limit("seconds", 0.01, Statistic.P99),
        Limit("seconds", 1.0, Statistic.MAX),
    )
    assert parse_limits([]) == Limits()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seconds"], r"limit 'seconds' is not METRIC<NUMBER, such as 'rel_error<1e-2'"),
        (["<1"], "is not METRIC<NUMBER"),
        (["seconds<"], "is not METRIC<NUMBER"),
        (["seconds<fast"], "'fast' is not a finite number"),
        (["seconds<nan"], "'nan' is not a finite number"),
        (["p51:seconds<1"], "'p51' is no statistic; choose one of median, mean, p90"),
        (["rel_error>0.1"], "rel_error is one number of a check"),
        (["rel_error<1"], "write rel_error<NUMBER, between 0 and 1"),
        (["p99:rel_error<0.1"], "rel_error is one number of a check"),
        (["seconds<1", "seconds<2"], "seconds is limited twice"),
    ],
)
def test_a_word_that_is_no_limit_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(TunerError, match=message):
        parse_limits(words)


def test_the_allowed_error_belongs_to_the_workload() -> None:
    plain = task_of("softmax", {"M": 1, "N": 64})
    task = parse_limits(["rel_error<1e-2"]).applied(plain)
    assert dict(task.workload) == {"M": 1, "N": 64, "rel_error": 0.01}
    assert task.key != plain.key
    assert parse_limits(["seconds<1"]).applied(plain) == plain
    assert parse_limits(["rel_error<0.01"]).applied(task) == task
    with pytest.raises(TunerError, match=r"rel_error is 0\.01 in the workload and 0\.02 as a limit"):
        parse_limits(["rel_error<0.02"]).applied(task)

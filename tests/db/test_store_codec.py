"""JSON of stores: exact, ASCII, and data only."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tuner.db.codec import dumps, loads, same
from tuner.errors import StoreError
from tuner.types import Config

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(values)
@example({"$float": None})
@example([{"$float": "inf"}, math.inf, {"$float": [{"$float": math.inf}]}])
def test_any_data_comes_back_as_it_was(value: object) -> None:
    text = dumps(value)
    assert text.isascii()
    json.loads(text, parse_constant=pytest.fail)
    assert repr(loads(text)) == repr(value)
    assert repr(loads(text.encode())) == repr(value)


def test_nan_comes_back() -> None:
    assert math.isnan(loads(dumps({"a": [math.nan]}))["a"][0])


def test_kinds_of_numbers_are_told_apart() -> None:
    assert not same([1], [1.0])
    assert not same([1], [True])
    assert same({"a": math.nan, "b": (1,)}, {"b": [1], "a": math.nan})
    assert dumps(Config(b=1, a=1.0)) == '{"b":1,"a":1.0}'


@pytest.mark.parametrize("value", [object(), {"a": {1, 2}}, [b"bytes"], {(1, 2): 3}])
def test_what_is_not_data_is_refused(value: object) -> None:
    with pytest.raises(StoreError, match="cannot store"):
        dumps(value)


def test_endless_data_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(StoreError, match="cannot store"):
        dumps(value)

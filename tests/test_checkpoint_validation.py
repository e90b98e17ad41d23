"""Checkers of untrusted JSON: what they take comes back, what they do not take has a place and a word."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prunecli.checkpoint import validation
from prunecli.checkpoint.validation import (
    MAX_ENTRIES,
    MAX_INTEGER,
    MAX_TEXT,
    Fields,
    argument,
    bounds,
    digest,
    integer,
    list_of,
    mapping_of,
    option,
    scalar,
    shape,
    text,
)
from prunecli.errors import InputError

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("check", "value", "found"),
    [
        (text, "a", "a"),
        (text, "x" * MAX_TEXT, "x" * MAX_TEXT),
        (digest, HEX, HEX),
        (argument, "num_classes", "num_classes"),
        (integer, 0, 0),
        (integer, MAX_INTEGER, MAX_INTEGER),
        *((scalar, value, value) for value in (None, True, -3, 0.5, "a")),
        (option, [1, "a", None], [1, "a", None]),
        (option, 2.5, 2.5),
        (shape, [], ()),
        (shape, [2, 0, 3], (2, 0, 3)),
        (bounds, None, None),
        (bounds, [-1, 5], (-1, 5)),
        (list_of(integer), [1, 2], (1, 2)),
        (mapping_of(integer), {"a": 1}, {"a": 1}),
    ],
)
def test_what_is_taken(check: Any, value: object, found: object) -> None:
    assert check(value, "here") == found


@pytest.mark.parametrize(
    ("check", "value", "reason"),
    [
        (text, 1, "here must be a short text, found int"),
        (text, "x" * (MAX_TEXT + 1), "a short text"),
        (digest, HEX[:-1], "a SHA-256"),
        (digest, HEX.upper(), "a SHA-256"),
        (digest, None, "a SHA-256, found NoneType"),
        (argument, "a b", "named like arguments"),
        (argument, "__class__", "named like arguments"),
        (argument, "x" * 101, "named like arguments"),
        (integer, True, "an integer in 0.."),
        (integer, 1.0, "an integer in 0.."),
        (integer, -1, "an integer in 0.."),
        (integer, MAX_INTEGER + 1, "an integer in 0.."),
        (scalar, MAX_INTEGER + 1, "a short text, found int"),
        (scalar, math.nan, "a short text, found float"),
        (scalar, math.inf, "a short text, found float"),
        (scalar, [1], "a short text, found list"),
        (option, [[1]], r"here\[0\] must be a short text, found list"),
        (shape, [1] * 9, "no shape of a tensor"),
        (shape, [2**40, 2**40], "no shape of a tensor"),
        (shape, [-1], r"here\[0\] must be an integer"),
        (bounds, 3, "a pair of integers"),
        (bounds, [1], "a pair of integers"),
        (bounds, [1, True], "a pair of integers"),
        (bounds, [5, 1], "no range: 5 to 1"),
        (bounds, [0, 2**60], "no range"),
        (list_of(integer), {}, "a list, found dict"),
        (list_of(integer, 2), [1, 2, 3], "has 3 entries, more than 2"),
        (list_of(integer), [0] * (MAX_ENTRIES + 1), "more than"),
        (mapping_of(integer), [], "an object, found list"),
        (mapping_of(integer, most=1), {"a": 1, "b": 2}, "has 2 entries, more than 1"),
        (mapping_of(integer), {"a": "b"}, r"here\.a must be an integer"),
        (mapping_of(integer, argument), {"a b": 1}, "a name in here must be named like arguments"),
    ],
)
def test_what_is_refused(check: Any, value: object, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as raised:
        check(value, "here")
    assert len(raised.value.message) < 400


def test_an_object_has_just_its_fields() -> None:
    fields = Fields({"a": 1, "b": "x"}, "here", ("a", "b"))
    assert (fields.take("a", integer), fields.take("b", text)) == (1, "x")
    for data, reason in (
        ({"a": 1}, "missing field 'b' in here"),
        ({"a": 1, "b": 2, "c": 3}, "unknown field 'c' in here"),
        ([1], "here must be an object, found list"),
    ):
        with pytest.raises(InputError, match=reason):
            Fields(data, "here", ("a", "b"))


def test_the_place_of_a_long_name_is_cut() -> None:
    assert len(validation.wrong("x" * 10_000, "a thing", 1).message) < 300

from __future__ import annotations

from collections import Counter

import pytest

from prunecli.report.text import (
    count,
    milliseconds,
    one_line,
    plural,
    reasons_in_words,
    seconds,
    shape,
    size,
    times,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9408, "9.41 k"),
        (25_557_032, "25.6 M"),
        (118_013_952, "118 M"),
        (999_499, "999 k"),
        (999_999, "1.00 M"),
        (4_089_184_256, "4.09 G"),
        (2.5e12, "2.50 T"),
    ],
)
def test_counts_have_three_digits(value: float, expected: str) -> None:
    assert count(value) == expected


def test_sizes_say_their_unit() -> None:
    assert size(512) == "512 B"
    assert size(102_228_128) == "102 MB"
    assert size(1000) == "1.00 kB"


def test_ratios_times_and_shapes() -> None:
    assert times(4, 2) == "2.00x"
    assert times(4, 0) == "-"
    assert shape((64, 3, 7, 7)) == "64x3x7x7"
    assert shape(()) == "-"
    assert seconds(0.041) == "0.04 s"
    assert seconds(12.34) == "12.3 s"
    assert plural(1, "group") == "1 group"
    assert plural(0, "group") == "0 groups"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("a\nb\r\n c", "a b c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x07bell\x00", "\\x07bell\\x00"),
        ("safe\u202egnp", "safe\\u202egnp"),
        ("größe", "größe"),
    ],
)
def test_nothing_a_terminal_would_obey_survives(name: str, expected: str) -> None:
    assert one_line(name) == expected


def test_reasons_are_counted_and_the_long_tail_is_summed() -> None:
    assert reasons_in_words(Counter({"a": 3, "b": 1})) == "a (3x); b"
    assert reasons_in_words(Counter({"a": 3, "b": 2, "c": 1, "d": 1})) == "a (3x); b (2x); and 2 more reasons"


def test_reasons_that_differ_in_the_place_alone_are_one() -> None:
    heads = [f"the number of heads in {i}; heads are left whole unless asked for" for i in range(3)]
    assert reasons_in_words(Counter([*heads, "x; y"])) == ("heads are left whole unless asked for (3x); x; y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1234.4, "1234 ms"),
        (99.96, "100 ms"),
        (99.94, "99.9 ms"),
        (12.34, "12.3 ms"),
        (0.0412345, "0.0412 ms"),
    ],
)
def test_milliseconds_have_three_digits(value: float, expected: str) -> None:
    assert milliseconds(value) == expected

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prunecli.report.histograms import BINS, Histogram, counts

FLOATS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0, 1, 2, 3, 4], [1, 1, 1, 2]),
        ([-1, 1], [1, 0, 0, 1]),
        ([7, 7, 7], [3, 0, 0, 0]),
        ([5], [1, 0, 0, 0]),
        ([-sys.float_info.max, 0, sys.float_info.max], [1, 0, 1, 1]),
    ],
)
def test_equal_parts_by_hand(values: list[float], found: list[int]) -> None:
    assert counts(values, 4) == found


@given(FLOATS)
def test_every_value_is_in_one_part_and_the_ends_are_taken(values: list[float]) -> None:
    found = counts(values)
    assert sum(found) == len(values)
    assert found[0] > 0
    assert found[-1] > 0 or min(values) == max(values)
    shown = Histogram(values).line()
    assert len(shown) == BINS
    assert [character != " " for character in shown] == [number > 0 for number in found]
    assert "█" in shown


def test_the_highest_part_fills_the_line_and_a_single_unit_still_shows() -> None:
    assert Histogram([0.0] * 800 + [11.5] + [12.0] * 400).line() == "█          ▅"
    assert Histogram([0.0] * 800 + [12.0]).line() == "█          ▁"


@pytest.mark.parametrize(("encoding", "printed"), [("utf-8", "█          ▄"), ("ascii", "@          =")])
def test_a_terminal_without_blocks_gets_ascii(encoding: str, printed: str) -> None:
    class Plain(Console):
        encoding = property(lambda self: encoding_of_the_stream)  # type: ignore[assignment]

    encoding_of_the_stream = encoding
    console = Plain(width=40, no_color=True)
    with console.capture() as capture:
        console.print(Histogram([0.0, 0.0, 1.0]))
    assert capture.get().rstrip() == printed

from __future__ import annotations

import pytest

from prunecli.criteria import CRITERIA, find
from prunecli.criteria.listing import BEGIN, END, needs_in_words, renewed, table


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("magnitude-l2", "weights"),
        ("cp", "data"),
        ("hrank", "data"),
        ("fisher", "data, labels if any"),
        ("grasp", "data, labels if any"),
    ],
)
def test_needs(name: str, words: str) -> None:
    assert needs_in_words(find(name)) == words


def test_a_row_per_criterion() -> None:
    rows = [line.split(" | ") for line in table().splitlines()]
    assert len(rows) == 2 + len(CRITERIA)
    assert {row[0].strip("| `") for row in rows[2:]} == set(CRITERIA)
    assert len({line.count("|") for line in table().splitlines()}) == 1


def test_the_rest_of_a_page_stays() -> None:
    page = f"above\n{BEGIN}\nold\n{END}\nbelow\n"
    assert renewed(page) == f"above\n{BEGIN}\n{table()}\n{END}\nbelow\n"
    assert renewed(renewed(page)) == renewed(page)

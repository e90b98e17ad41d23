"""Normalizations in closed form, and the zero denominators."""

from __future__ import annotations

import pytest
import torch

from prunecli.criteria.normalize import NORMALIZE, lamp

VALUES = [3.0, 1.0, 4.0, 0.0]


@pytest.mark.parametrize(
    ("name", "result"),
    [("none", VALUES), ("mean", [1.5, 0.5, 2.0, 0.0]), ("max", [0.75, 0.25, 1.0, 0.0]),
     ("sum", [0.375, 0.125, 0.5, 0.0]), ("standard", [0.75, 0.25, 1.0, 0.0]),
     ("gaussian", [1 / 2.5**0.5, -1 / 2.5**0.5, 2 / 2.5**0.5, -2 / 2.5**0.5]),
     ("lamp", [3 / 7, 1 / 8, 1.0, 0.0])],
)  # fmt: skip
def test_closed_forms(name: str, result: list[float]) -> None:
    values = torch.tensor(VALUES, dtype=torch.float64)
    assert NORMALIZE[name](values).tolist() == pytest.approx(result)


@pytest.mark.parametrize("name", [name for name in NORMALIZE if name != "none"])
def test_a_zero_denominator_gives_zeros(name: str) -> None:
    assert NORMALIZE[name](torch.zeros(3, dtype=torch.float64)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["standard", "gaussian"])
def test_equal_numbers_have_no_spread(name: str) -> None:
    assert NORMALIZE[name](torch.full((7,), 0.1, dtype=torch.float64)).tolist() == [0] * 7


def test_absolute_denominators_keep_signs() -> None:
    values = torch.tensor([-3.0, 1.0], dtype=torch.float64)
    assert NORMALIZE["mean"](values).tolist() == [-1.5, 0.5]


def test_lamp_ties_break_by_index() -> None:
    assert lamp(torch.ones(4, dtype=torch.float64)).tolist() == [1 / 4, 1 / 3, 1 / 2, 1]

from __future__ import annotations

import pytest
import torch

from prunecli.repair.judging import output_error


def test_relative_error_of_every_output_counts_alike() -> None:
    wanted = [[torch.tensor([3.0, 4.0]), torch.tensor([100.0])]]
    found = [[torch.tensor([3.0, 4.0 + 5.0]), torch.tensor([100.0])]]
    assert output_error(wanted, wanted) == 0
    assert output_error(wanted, found) == pytest.approx((1 / 2) ** 0.5)
    assert output_error([*wanted, *wanted], [*wanted, *found]) == pytest.approx((1 / 4) ** 0.5)


def test_outputs_of_other_shapes_cannot_be_compared() -> None:
    wanted, found = [[torch.zeros(2, 4)]], [[torch.zeros(3, 4)]]
    assert output_error(wanted, found) is None
    assert output_error([[torch.zeros(2)]], [[torch.zeros(2)]]) is None

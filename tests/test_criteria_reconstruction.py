"""LASSO paths and greedy choices against explicit columns of contributions."""

from __future__ import annotations

import pytest
import torch
from criteria_checks import check, everywhere, reference_of


@everywhere
@pytest.mark.parametrize("criterion", ["cp", "thinet"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)

"""What consumers are given, against plain float64 loops over samples, units and maps."""

from __future__ import annotations

import pytest
import torch
from criteria_checks import check, everywhere, reference_of


@everywhere
@pytest.mark.parametrize("criterion", ["activation", "wanda", "hrank"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("rule", ["sum", "max", "first"])
@pytest.mark.parametrize("criterion", ["activation", "wanda", "hrank"])
def test_consumers_are_reduced_as_asked(criterion: str, rule: str) -> None:
    check(criterion, reference_of("residual", "dense"), torch.float64, reduce=rule)

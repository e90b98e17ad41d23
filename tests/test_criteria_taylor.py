"""First-order estimates against plain float64 loops over samples."""

from __future__ import annotations

import pytest
import torch
from criteria_checks import check, everywhere, reference_of


@everywhere
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("rule", ["sum", "mean", "max", "first"])
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_slots_are_reduced_sample_by_sample(criterion: str, rule: str) -> None:
    for name in ("residual", "attention"):
        check(criterion, reference_of(name, "dense"), torch.float64, reduce=rule)

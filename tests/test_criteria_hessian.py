"""Optimal brain damage against plain float64 loops over samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from criteria_checks import check, everywhere, many_of, reference_of


@everywhere
@pytest.mark.parametrize("criterion", ["obd-c", "obd-hessian"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("rule", ["mean", "max", "first"])
def test_reductions_over_slots(rule: str) -> None:
    for criterion in ("obd-c", "obd-hessian"):
        check(criterion, reference_of("residual", "dense"), torch.float64, reduce=rule)


@pytest.mark.parametrize("options", [{}, {"memory": 1}])
@pytest.mark.parametrize("criterion", ["obd-c", "obd-hessian"])
def test_every_sample_counts_alone(criterion: str, options: dict[str, Any]) -> None:
    """A square of sums over a chunk, or the last chunk alone, would be something else."""
    for name in ("residual", "grouped queries"):
        check(criterion, many_of(name), torch.float64, **options)

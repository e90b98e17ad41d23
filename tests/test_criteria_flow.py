"""What cutting does to the loss and to the gradient's norm, against plain float64 loops and an explicit Hessian."""

from __future__ import annotations

import pytest
import torch
from criteria_checks import check, everywhere, reference_of
from criteria_networks import case
from criteria_reference import Reference, cross_entropy

from prunecli.losses import Loss


@everywhere
@pytest.mark.parametrize("criterion", ["loss-preservation", "loss-magnitude", "grasp", "grasp-abs"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("temperature", [5.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_temperature_divides_the_logits(temperature: float, dtype: torch.dtype) -> None:
    reference = Reference(case("grouped queries"), cross_entropy(temperature))
    for criterion in ("grasp", "loss-preservation"):
        check(criterion, reference, dtype, loss=Loss("cross-entropy", temperature))


@pytest.mark.parametrize("rule", ["mean", "max", "first"])
@pytest.mark.parametrize("criterion", ["loss-preservation", "grasp"])
def test_slots_are_reduced_before_the_finish(criterion: str, rule: str) -> None:
    for name in ("residual", "transposed"):
        check(criterion, reference_of(name, "dense"), torch.float64, reduce=rule)

"""Optimal brain damage with the squared gradients of single samples for the Hessian's diagonal."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import SlotView


def _all_slots(slot: SlotView) -> Tensor:
    return slot.sum(slot.weight.to(torch.float64).square() * slot.squared_gradient)


def _out_slots(slot: SlotView) -> Tensor | None:
    return _all_slots(slot) if slot.role == "out" else None


def _half(values: Tensor) -> Tensor:
    return values / 2


register_criterion(
    Criterion(
        "obd-c", "change of the loss to second order, by the filters",
        "Wang et al. 2019 (EigenDamage, C-OBD)",
        _out_slots, _half, not_scorable="no convolution or linear weight makes its units",
        needs=frozenset({"squared-gradient"}),
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "obd-hessian", "change of the loss to second order, by all slots", "Fang et al. 2023 (DepGraph)",
        _all_slots, _half, needs=frozenset({"squared-gradient"}),
    )
)  # fmt: skip

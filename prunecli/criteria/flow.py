"""Criteria of gradient flow: what removing a unit does to the loss, and to the norm of its gradient (Lubana
and Dick 2021, "A gradient flow framework for analyzing network pruning").
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import SlotView

_SOURCE = "Lubana and Dick 2021"


def _first_order(slot: SlotView) -> Tensor:
    return slot.sum(slot.weight * slot.gradient)


def _weighted_first_order(slot: SlotView) -> Tensor:
    weight = slot.weight.to(torch.float64)
    return slot.sum(weight.abs() * (weight * slot.gradient).abs())


def _flow(slot: SlotView) -> Tensor:
    return slot.sum(slot.weight * slot.curvature)


register_criterion(
    Criterion(
        "loss-preservation", "change of the loss to first order", f"{_SOURCE}, eq. 3", _first_order,
        torch.abs, normalize="none", needs=frozenset({"gradient"}),
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "loss-magnitude", "change of the loss to first order, times magnitude", f"{_SOURCE}, section 4.1",
        _weighted_first_order, normalize="none", needs=frozenset({"gradient"}),
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "grasp", "change of the gradient's norm, signed", f"Wang et al. 2020 (GraSP); {_SOURCE}, eq. 5",
        _flow, normalize="none", needs=frozenset({"curvature"}),
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "grasp-abs", "change of the gradient's norm, either way", f"{_SOURCE}, section 4.3", _flow, torch.abs,
        normalize="none", needs=frozenset({"curvature"}),
    )
)  # fmt: skip

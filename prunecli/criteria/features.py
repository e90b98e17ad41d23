"""Criteria that look at feature maps: at what the operations that take a unit are given of it."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import SlotView

_NOT_TAKEN = "no operation with weights takes its units"


def _magnitude(slot: SlotView) -> Tensor | None:
    found = slot.inputs
    return None if found is None else found.magnitude


def _weighted_norm(slot: SlotView) -> Tensor | None:
    found = slot.inputs
    return None if found is None else found.norm * slot.sum_of(torch.abs_)


def _rank(slot: SlotView) -> Tensor | None:
    return slot.rank


register_criterion(
    Criterion(
        "activation", "mean absolute activation", "Molchanov et al. 2017", _magnitude,
        not_scorable=_NOT_TAKEN, needs=frozenset({"inputs"}), reduce="mean",
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "wanda", "norm of the activation times the weights that take it", "Sun et al. 2024", _weighted_norm,
        not_scorable=_NOT_TAKEN, needs=frozenset({"inputs"}), reduce="mean",
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "hrank", "mean rank of the feature maps", "Lin et al. 2020", _rank,
        not_scorable="no 2-D feature map", needs=frozenset({"ranks"}), reduce="mean",
    )
)  # fmt: skip

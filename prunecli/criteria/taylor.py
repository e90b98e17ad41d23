"""Criteria from weight times gradient of single samples: to first order, what their loss loses."""

from __future__ import annotations

from torch import Tensor

from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import SlotView


def _products(slot: SlotView) -> Tensor:
    return slot.products


def _input_products(slot: SlotView) -> Tensor | None:
    """Input times its gradient summed over positions: the same as weight times gradient, since an operation
    is linear in both.
    """
    return slot.products if slot.role == "in" else None


def _half_square(values: Tensor) -> Tensor:
    return values.square() / 2


register_criterion(
    Criterion(
        "taylor", "squared change of each sample's loss to first order", "Molchanov et al. 2019", _products,
        normalize="none", needs=frozenset({"products"}), each=Tensor.square,
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "fisher", "squared change of each sample's loss to first order, by the unit's activations",
        "Theis et al. 2018", _input_products, not_scorable="no operation with weights takes its units",
        needs=frozenset({"products"}), each=_half_square, reduce="mean",
    )
)  # fmt: skip

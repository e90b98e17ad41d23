"""``--reduce`` and ``--normalize``: from slots to a group's vector, and from its vector to comparable scores.

All vectors are float64 ``[n]``, one number per unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from prunecli.coupling.space import Role


def _first(statistics: Sequence[Tensor], roles: Sequence[Role]) -> Tensor:
    """The first ``out`` slot; a criterion that reads no weights (bn-scale) has only its first slot."""
    outs = (values for values, role in zip(statistics, roles, strict=True) if role == "out")
    return next(outs, statistics[0])


REDUCE: dict[str, Callable[[Sequence[Tensor], Sequence[Role]], Tensor]] = {
    "sum": lambda statistics, roles: torch.stack(list(statistics)).sum(0),
    "mean": lambda statistics, roles: torch.stack(list(statistics)).mean(0),
    "max": lambda statistics, roles: torch.stack(list(statistics)).amax(0),
    "first": _first,
}


def lamp(values: Tensor) -> Tensor:
    """``u_k / sum of u_j over j >= k`` with ``u`` sorted ascending, ties by index (Lee et al. 2021)."""
    ascending, order = torch.sort(values, stable=True)
    remaining = ascending.flip(0).cumsum(0).flip(0)
    return torch.empty_like(values).scatter_(0, order, _divide(ascending, remaining))


def _divide(values: Tensor, by: Tensor) -> Tensor:
    """``values / by``, with 0 where the denominator is 0."""
    zero = by == 0
    return torch.where(zero, torch.zeros_like(values), values / torch.where(zero, torch.ones_like(by), by))


def _standard(values: Tensor) -> Tensor:
    return _divide(values - values.min(), values.max() - values.min())


def _gaussian(values: Tensor) -> Tensor:
    # min == max is asked for exactly: the rounded mean of equal numbers need not be one of them.
    spread = values.std(correction=0) if values.min() < values.max() else torch.zeros_like(values[0])
    return _divide(values - values.mean(), spread)


NORMALIZE: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda values: values,
    "mean": lambda values: _divide(values, values.abs().mean()),
    "max": lambda values: _divide(values, values.abs().amax()),
    "sum": lambda values: _divide(values, values.abs().sum()),
    "standard": _standard,
    "gaussian": _gaussian,
    "lamp": lamp,
}

"""How alike two criteria order the same units: Spearman's rank correlation, ties by their average rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Agreement:
    """``within``: the mean of the correlations inside each of ``groups``, weighted by their units;
    ``across``: the correlation over all ``units`` together. None where nothing can be ordered.
    """

    within: float | None
    groups: int
    across: float | None
    units: int


def average_ranks(values: Tensor) -> Tensor:
    """The rank of each of ``values`` (``[n]``), from 1; equal values share the mean of theirs: float64."""
    _, places, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).to(torch.float64)
    means: Tensor = last - (counts - 1) / 2
    return means[places]


def spearman(first: Tensor, second: Tensor) -> float | None:
    """Pearson's correlation of the ranks; None where one of the two does not tell any units apart."""
    a, b = (ranks - ranks.mean() for ranks in (average_ranks(first), average_ranks(second)))
    scale = (a @ a) * (b @ b)
    if not scale > 0:
        return None
    return max(-1.0, min(1.0, float((a @ b) / scale.sqrt())))


def agreement(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> Agreement:
    """Of two criteria's scores by group, over the groups that both have scored."""
    shared = [name for name in first if name in second]
    if not shared:
        return Agreement(None, 0, None, 0)
    found = [(spearman(first[name], second[name]), len(first[name])) for name in shared]
    ordered = [(value, units) for value, units in found if value is not None]
    weight = sum(units for _, units in ordered)
    within = sum(value * units for value, units in ordered) / weight if weight else None
    everything = [torch.cat([scores[name] for name in shared]) for scores in (first, second)]
    return Agreement(within, len(ordered), spearman(*everything), len(everything[0]))

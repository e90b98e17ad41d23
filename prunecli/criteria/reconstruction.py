"""Criteria of reconstruction: how well the operations that take a group can do without some of its units.

Both need of the data only the Gram matrix ``G [n, n]`` of what the units contribute to the outputs: the
outputs themselves are the sum of all contributions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.criteria.lasso import entries
from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import GroupView


def _gram(view: GroupView) -> Tensor | None:
    """Over all operations that take the group."""
    found = [gram for slot in view.slots if (gram := slot.gram) is not None]
    return torch.stack(found).sum(0) if found else None


def _entered(view: GroupView) -> Tensor | None:
    gram = _gram(view)
    return None if gram is None else entries(gram, gram.sum(1))


def _thrown_away(view: GroupView) -> Tensor | None:
    gram = _gram(view)
    return None if gram is None else greedy(gram)


def greedy(gram: Tensor) -> Tensor:
    """The position of each unit in the order in which they go, from 0, if each time that one goes with which
    the sum of all that are gone is smallest; the first of equals.
    """
    position = torch.zeros(len(gram), dtype=torch.float64)
    worse = gram.diagonal().clone()
    for place in range(len(gram)):
        gone = int(worse.argmin())
        position[gone] = place
        worse += 2 * gram[gone]
        worse[gone] = torch.inf
    return position


register_criterion(
    Criterion(
        "cp", "when the unit enters the LASSO path of the outputs", "He et al. 2017, channel pruning",
        of_group=_entered, not_scorable="no operation with weights takes its units",
        needs=frozenset({"grams"}),
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "thinet", "how late the unit goes, if the outputs are to change least", "Luo et al. 2017",
        of_group=_thrown_away, not_scorable="no operation with weights takes its units",
        needs=frozenset({"grams"}),
    )
)  # fmt: skip

"""The registry of criteria: one frozen value per name, from here or from other packages' entry points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from prunecli.criteria.evidence import LOSS_NEEDS, NEEDS
from prunecli.criteria.views import Elementwise, GroupView, SlotView
from prunecli.registry import Registry

ENTRY_POINT_GROUP = "prunecli.criteria"


def unchanged(reduced: Tensor) -> Tensor:
    """The finish of a criterion whose statistic is the score."""
    return reduced


@dataclass(frozen=True)
class Criterion:
    """How important a unit is; the lowest score is removed first.

    ``statistic`` gives the additive statistic of one slot (float64 ``[n]``), or None where it says nothing.
    The statistics of a group's slots are reduced, then ``finish`` makes scores of them (``[n]`` to ``[n]``).
    A criterion that scores a group as a whole gives ``of_group`` instead. ``not_scorable`` is the reason
    reported for a group about which no slot says anything. ``normalize`` is the default under global schemes,
    ``reduce`` the criterion's own ``--reduce``. ``sums`` names the elementwise function whose
    ``SlotView.sum_of`` the statistic asks for of every slot, if there is one: those passes are then made side
    by side beforehand.

    A criterion that looks at data names in ``needs`` what of it (keys of
    :data:`prunecli.criteria.evidence.NEEDS`); the properties of :class:`SlotView` then hold it. One that is a
    mean over samples gives ``each``: the statistic is then float64 ``[n, c]`` for ``c`` samples, reduced
    sample by sample, and the score is the mean over all samples of ``each`` of it (``[n, c]`` to ``[n, c]``).
    """

    name: str
    summary: str
    source: str
    statistic: Callable[[SlotView], Tensor | None] | None = None
    finish: Callable[[Tensor], Tensor] = unchanged
    of_group: Callable[[GroupView], Tensor | None] | None = None
    not_scorable: str = "no weights to score"
    normalize: str = "mean"
    sums: Elementwise | None = None
    needs: frozenset[str] = frozenset()
    each: Callable[[Tensor], Tensor] | None = None
    reduce: str = "sum"

    @property
    def needs_data(self) -> bool:
        return bool(self.needs)

    @property
    def needs_loss(self) -> bool:
        return bool(self.needs & LOSS_NEEDS)


def _check(criterion: Criterion) -> None:
    if (criterion.statistic is None) == (criterion.of_group is None):
        raise ValueError(f"criterion '{criterion.name}' needs either a statistic or of_group")
    if criterion.needs - NEEDS.keys():
        unknown = ", ".join(sorted(criterion.needs - NEEDS.keys()))
        raise ValueError(
            f"criterion '{criterion.name}' needs {unknown}, which is not one of {', '.join(NEEDS)}"
        )


REGISTRY = Registry("criterion", ENTRY_POINT_GROUP, Criterion, _check)
CRITERIA = REGISTRY.values


def register_criterion(criterion: Criterion) -> Criterion:
    """Make ``criterion`` available by its name. Raises ``ValueError`` where the name is taken."""
    return REGISTRY.add(criterion)


def criteria() -> dict[str, Criterion]:
    """Every criterion by name, those of installed packages included."""
    return REGISTRY.all()


def find(name: str) -> Criterion:
    """The criterion called ``name``. Raises ``UsageError`` with the nearest names."""
    return REGISTRY.find(name)

"""A weight that is used several times in one run, solved for all its uses together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from prunecli.repair.operations import Operation
from prunecli.repair.site import IS_EXACT, Site, Sums
from prunecli.report.figures import OperationRow


@dataclass
class Uses:
    """What ``count`` of the uses have found: their ``sums`` over the rows of all, or why one of them cannot
    be followed. ``row``: what has come of it at the last.
    """

    count: int = 0
    sums: Sums | None = None
    reason: str | None = None
    is_exact: bool = True
    site: Site | None = None
    row: OperationRow | None = None

    def refuse(self, reason: str) -> None:
        self.count += 1
        self.reason = self.reason or reason

    def add(self, site: Site) -> None:
        self.count += 1
        self.site = site
        self.is_exact = self.is_exact and site.is_exact()
        train, held = site.sums()
        self.sums = (train, held) if self.sums is None else (self.sums[0] + train, self.sums[1] + held)

    def solve(self, operation: Operation) -> OperationRow:
        """At the last use: write down the weights that fit all of them best."""
        site, sums = self.site, self.sums
        self.site = self.sums = None
        if self.reason is not None or site is None or sums is None:
            return OperationRow(operation.name, "", self.reason)
        return site.left(IS_EXACT) if self.is_exact else site.solve(sums)


def put(operations: Sequence[Operation], solved: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Weights that are used several times, and the constants of their operations, from ``solved`` into
    ``tensors``.
    """
    for op in operations:
        if op.uses > 1:
            tensors[op.name].detach().copy_(solved[op.name])
            if (place := op.constant) is not None:
                there, here = (every[place.name].detach().view(-1) for every in (solved, tensors))
                here[place.start : place.stop] = there[place.start : place.stop]

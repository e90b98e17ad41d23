"""The document of ``prune score``: :class:`Scoring` (``prunecli.score/1``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunecli.report.figures import DataFacts
from prunecli.report.model import Input, NetworkFacts, Source, document


@dataclass(frozen=True, slots=True)
class CriterionFacts:
    """A criterion as it was used: how slots were reduced and groups normalized, and the loss, where it takes
    a gradient.
    """

    name: str
    reduce: str
    normalize: str
    loss: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """One coupled group. ``scores``: by criterion, one number per unit, the lowest removed first;
    ``not_scorable``: why a criterion has none. Both are empty where the group is ``frozen``, for that reason.
    """

    name: str
    kind: str
    size: int
    frozen: str | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    not_scorable: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankCorrelation:
    """Spearman's, of two criteria. ``within``: inside each group, averaged over the ``groups`` that both
    order, weighted by their units; ``across``: over all ``units`` at once. None where there is no order.
    """

    first: str
    second: str
    within: float | None
    groups: int
    across: float | None
    units: int


@dataclass(frozen=True)
class Scoring:
    """The scores of every group under some criteria. ``data`` is None where no criterion looked at any;
    ``against`` the other network of the loss, where it was a file.
    """

    version: str
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    data: DataFacts | None
    criteria: tuple[CriterionFacts, ...]
    groups: tuple[ScoredGroup, ...]
    correlations: tuple[RankCorrelation, ...] = ()
    against: Source | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: Literal["prunecli.score/1"] = "prunecli.score/1"

    @property
    def rows(self) -> Iterator[tuple[str, int, str, float]]:
        """Group, unit, criterion and score of every unit that has one."""
        for group in self.groups:
            for criterion, scores in group.scores.items():
                for unit, score in enumerate(scores):
                    yield group.name, unit, criterion, score

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)

"""Importance scores. A criterion is a statistic per slot and a finish per unit; see :class:`Criterion`."""

from prunecli.criteria import magnitude, median  # noqa: F401  importing registers their criteria
from prunecli.criteria.registry import CRITERIA, Criterion, criteria, register_criterion
from prunecli.criteria.scoring import Scores, one_thread, score
from prunecli.criteria.views import GroupView, SlotView

__all__ = [
    "CRITERIA",
    "Criterion",
    "GroupView",
    "Scores",
    "SlotView",
    "criteria",
    "one_thread",
    "register_criterion",
    "score",
]

"""Importance scores. A criterion is a statistic per slot and a finish per unit; see :class:`Criterion`."""

from prunecli.criteria import (  # noqa: F401  importing registers their criteria
    features,
    flow,
    hessian,
    magnitude,
    median,
    reconstruction,
    taylor,
)
from prunecli.criteria.engine import gather
from prunecli.criteria.evidence import Evidence
from prunecli.criteria.registry import CRITERIA, Criterion, criteria, find, register_criterion
from prunecli.criteria.scoring import Scores, one_thread, score
from prunecli.criteria.views import GroupView, SlotView

__all__ = [
    "CRITERIA",
    "Criterion",
    "Evidence",
    "GroupView",
    "Scores",
    "SlotView",
    "criteria",
    "find",
    "gather",
    "one_thread",
    "register_criterion",
    "score",
]

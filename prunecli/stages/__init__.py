"""Training within ``prune run``: what it takes, and where it stands beside the cuts."""

from prunecli.stages.course import Course, OnEpoch
from prunecli.stages.program import Program

__all__ = ["Course", "OnEpoch", "Program"]

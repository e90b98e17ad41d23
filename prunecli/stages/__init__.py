"""Training within ``prune run``: what it takes, where it stands between the cut and the file."""

from prunecli.stages.course import Course, Kept
from prunecli.stages.finetune import Tuned, tuned

__all__ = ["Course", "Kept", "Tuned", "tuned"]

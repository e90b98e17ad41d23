"""Training within ``prune run``: what it takes, where it stands between the cut and the file."""

from prunecli.stages.course import Course
from prunecli.stages.finetune import Tuned, tuned

__all__ = ["Course", "Tuned", "tuned"]

"""Accuracy back after a cut: closed-form least squares on a few inputs, no labels, no training."""

from prunecli.repair.budget import Budget
from prunecli.repair.engine import Method, Outcome, Repair
from prunecli.repair.sweep import Repaired

__all__ = ["Budget", "Method", "Outcome", "Repair", "Repaired"]

"""Accuracy back after a cut: closed-form least squares on a few inputs, no labels, no training."""

from prunecli.repair.budget import Budget
from prunecli.repair.engine import DoesNotRunError, Method, Outcome, Repair

__all__ = ["Budget", "DoesNotRunError", "Method", "Outcome", "Repair"]

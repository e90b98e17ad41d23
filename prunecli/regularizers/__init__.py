"""Regularizers that make whole units small in training, so that cutting them costs little."""

from prunecli.regularizers import growing, penalties  # noqa: F401
from prunecli.regularizers.penalties import Penalty, UnitPenalty
from prunecli.regularizers.registry import (
    REGULARIZERS,
    Method,
    Picked,
    Regularized,
    find_regularizer,
    register_regularizer,
    regularizers,
)
from prunecli.regularizers.units import Units

__all__ = [
    "REGULARIZERS",
    "Method",
    "Penalty",
    "Picked",
    "Regularized",
    "UnitPenalty",
    "Units",
    "find_regularizer",
    "register_regularizer",
    "regularizers",
]

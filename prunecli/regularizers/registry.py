"""The registry of regularizers: one frozen value per name, from here or from other packages' entry points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from prunecli.errors import UsageError, did_you_mean, require_range
from prunecli.registry import Registry
from prunecli.regularizers.units import Units
from prunecli.training.hooks import Regularizer

ENTRY_POINT_GROUP = "prunecli.regularizers"

Picked = Mapping[str, Tensor]
"""By group, which of its units are to go: bool ``[n]``."""


@dataclass(frozen=True)
class Regularized:
    """What a regularizer acts on. ``values`` are its numbers by name; ``steps`` those of the whole run;
    ``pick`` chooses the units to remove by the weights as they are when it is called; ``weight_decay`` is the
    optimizer's own.
    """

    units: Units
    values: Mapping[str, float]
    given: frozenset[str]
    steps: int
    weight_decay: float
    pick: Callable[[], Picked]


@dataclass(frozen=True)
class Method:
    """A way to make units small in training. ``defaults`` are its numbers; ``make`` begins a run.

    ``picks``: it is told what is to be removed, and the network it leaves is to be cut so. ``source``: paper.
    """

    name: str
    summary: str
    source: str
    make: Callable[[Regularized], Regularizer]
    defaults: Mapping[str, float] = field(default_factory=dict)
    picks: bool = False

    def values(self, given: Mapping[str, float]) -> dict[str, float]:
        """``defaults``, or what was ``given`` instead. Raises ``UsageError`` for a number it has not."""
        for name, value in given.items():
            if name not in self.defaults:
                known = ", ".join(self.defaults) or "none"
                hint = did_you_mean(name, sorted(self.defaults)) or f"it has: {known}"
                raise UsageError(f"regularizer '{self.name}' has no number '{name}'", hint)
            require_range(value >= 0, f"--sparsify-arg {name}", value, "a number from 0")
        return {**self.defaults, **given}


REGISTRY = Registry("regularizer", ENTRY_POINT_GROUP, Method)
REGULARIZERS = REGISTRY.values


def register_regularizer(method: Method) -> Method:
    """Make ``method`` available by its name. Raises ``ValueError`` where the name is taken."""
    return REGISTRY.add(method)


def regularizers() -> dict[str, Method]:
    """Every regularizer by name, those of installed packages included."""
    return REGISTRY.all()


def find_regularizer(name: str) -> Method:
    """The regularizer called ``name``. Raises ``UsageError`` with the nearest names."""
    return REGISTRY.find(name)

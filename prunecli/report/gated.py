"""What a result had to be, and what it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gate:
    """One limit, named as its option without the dashes (``max-params``, ``min-accuracy``).

    ``found`` is in the unit of ``limit``, and None where the figure could not be taken; then the gate is not
    ``passed``.
    """

    name: str
    limit: float
    found: float | None
    unit: str
    passed: bool


def passed(gates: Iterable[Gate]) -> bool:
    """Whether every gate holds."""
    return all(gate.passed for gate in gates)

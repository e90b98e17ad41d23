"""What ``benchmarks/criteria_accuracy.py`` measures, and the page that tells of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SPEEDUPS = (2.0, 4.0, 8.0)
SCHEMES = ("protected", "global", "local")
CRITERIA = (
    ("magnitude-l2", 1.0), ("taylor", 1.0), ("random", 1.0), ("magnitude-l1", 1.0), ("bn-scale", 1.0),
    ("lamp", 1.0), ("fpgm", 1.0), ("loss-preservation", 1.0), ("loss-magnitude", 1.0), ("grasp", 1.0),
    ("grasp", 200.0), ("grasp-abs", 1.0), ("obd-c", 1.0), ("obd-hessian", 1.0), ("fisher", 1.0), ("cp", 1.0),
    ("thinet", 1.0), ("hrank", 1.0), ("activation", 1.0), ("wanda", 1.0),
)  # fmt: skip
"""With the temperature of the loss."""
ROUNDS = (("grasp", 1.0), ("grasp", 200.0), ("grasp-abs", 1.0), ("grasp-abs", 200.0), ("magnitude-l2", 1.0))
"""Measured in five rounds of scoring too."""


class Key(NamedTuple):
    criterion: str
    temperature: float
    scheme: str
    speedup: float
    steps: int


@dataclass(frozen=True)
class Cell:
    """One plan. ``cut``, ``repaired``, ``finetuned``: shares of the 10,000 test images that are right.

    ``plan``: a digest of what is kept; ``kept``: share of the parameters; ``reached``: the speedup;
    ``seconds``: of scoring. ``twin``: the plan is that of another row, whose accuracies these are.
    """

    key: Key
    plan: str
    kept: float
    reached: float
    seconds: float
    cut: float = 0.0
    repaired: float = 0.0
    finetuned: float = 0.0
    twin: bool = False


def cells(results: Path) -> list[Cell]:
    if not results.exists():
        return []
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return [Cell(**{**row, "key": Key(*row["key"])}) for row in rows]


def page(results: Path) -> str:
    raise NotImplementedError

"""What ``training.py`` measured, as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NETWORKS = ("resnet20", "vgg")
METHODS = (
    "one-shot", "greg-1", "greg-2", "repaired", "bn-scale", "group-lasso", "group-norm", "growing-reg",
)  # fmt: skip
SPEEDUPS = (2.0, 4.0, 8.0)
SEEDED = ("one-shot", "greg-1")
SEEDS = 3


@dataclass(frozen=True)
class Key:
    network: str
    method: str
    speedup: float
    seed: int


@dataclass(frozen=True)
class Cell:
    """``before``, ``cut`` and ``finetuned`` are top-1 on the test set."""

    key: Key
    reached: float
    before: float
    cut: float
    finetuned: float
    told: dict[str, Any] | None = None


def cells(results: Path) -> Iterator[Cell]:
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Cell(**{**row, "key": Key(**row["key"])})


def page(results: Path, tested: int, trained: int) -> str:
    raise SystemExit("written once the rows are there")

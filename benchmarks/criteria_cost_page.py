"""What ``benchmarks/criteria_cost.py`` measures, and the page that tells of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One process. ``kind``: whose work; ``floor``: seconds of a forward and backward pass before and after,
    where it was timed; ``before``, ``peak``: GiB of the process at most, up to the work and in all; ``how``:
    how ``seconds`` were extrapolated.
    """

    kind: str
    name: str
    samples: int
    floor: tuple[float, ...]
    seconds: float
    before: float
    peak: float
    how: str = ""

    @property
    def ratio(self) -> float:
        return 2 * self.seconds / sum(self.floor)


def rows(results: Path) -> list[Row]:
    if not results.exists():
        return []
    return [Row(**json.loads(line)) for line in results.read_text().splitlines()]


def page(results: Path) -> str:
    raise NotImplementedError

"""What is asked for (``Target``) and what may not be crossed on the way (``Limits``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Literal

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Space
from prunecli.errors import UsageError

Kind = Literal["speedup", "flops", "params", "ratio"]

# ceil(0.1 * 30) is 4 in binary floating point; widths are far coarser than this.
SLACK = 1e-9


@dataclass(frozen=True)
class Target:
    """``speedup`` is dense / pruned MACs; ``flops`` and ``params`` are the fraction kept; ``ratio`` is the
    fraction of units removed. Raises ``UsageError`` outside (1, inf) for speedup, (0, 1) for the others."""

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        if self.kind == "speedup":
            if not 1 < self.value < float("inf"):
                raise UsageError(f"--speedup {self.value:g} is not above 1", "--speedup 2 halves the MACs")
        elif self.kind not in ("flops", "params", "ratio"):
            raise UsageError(f"unknown target '{self.kind}'", "use speedup, flops, params or ratio")
        elif not 0 < self.value < 1:
            raise UsageError(f"--{self.kind} {self.value:g} is not between 0 and 1", f"--{self.kind} 0.5")

    def __str__(self) -> str:
        return f"--{self.kind} {self.value:g}"

    def part(self, share: float) -> Target:
        """The target after ``share`` of the rounds: what is kept shrinks geometrically."""
        if self.kind == "ratio":
            return replace(self, value=1 - (1 - self.value) ** share)
        return replace(self, value=self.value**share)

    def cost(self, space: Space, counted: Iterable[str]) -> Polynomial:
        """What has to shrink: MACs, parameters, or the units of the groups ``counted``."""
        if self.kind == "ratio":
            return Polynomial.sum(Polynomial.variable(name) for name in counted)
        return space.params if self.kind == "params" else space.macs

    def goal(self, dense: int) -> float:
        """The cost to reach when the dense network costs ``dense``."""
        if self.kind == "speedup":
            return dense / self.value
        return dense * (1 - self.value if self.kind == "ratio" else self.value)

    def figure(self, dense: int, cost: int) -> float:
        """The figure that ``cost`` amounts to, in the units of ``value``."""
        if self.kind == "speedup":
            return dense / cost if cost else float("inf")
        return 1 - cost / dense if self.kind == "ratio" else cost / dense

    def show(self, figure: float) -> str:
        return f"{figure:.4g}x" if self.kind == "speedup" else f"{figure:.4g}"


@dataclass(frozen=True)
class Limits:
    """``protect``: fraction of its dense units every group keeps (scheme ``protected``); ``max_ratio``: the
    largest fraction that any group loses; ``round_to``: widths are multiples of it where reachable."""

    protect: float = 0.1
    max_ratio: float = 1.0
    round_to: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.protect < 1:
            raise UsageError(f"--protect {self.protect:g} is not in [0, 1)", "--protect 0.1")
        if not 0 < self.max_ratio <= 1:
            raise UsageError(f"--max-ratio {self.max_ratio:g} is not in (0, 1]", "--max-ratio 0.6")
        if self.round_to < 1:
            raise UsageError(f"--round-to {self.round_to} is not a positive integer", "--round-to 8")

    def floors(self, dense: Mapping[str, int], *, protected: bool) -> dict[str, int]:
        """Fewest units that each group keeps, over all rounds; at least one."""
        protect = self.protect if protected else 0.0
        return {
            name: max(1, ceil(protect * size - SLACK), size - floor(self.max_ratio * size + SLACK))
            for name, size in dense.items()
        }

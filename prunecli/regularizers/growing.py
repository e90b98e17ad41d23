"""Growing regularization (Wang et al. 2021, Algorithm 1): training pulls units that are to go to nothing.

``greg-1`` picks once, by L1, before the first step; ``greg-2`` first pulls all units alike until their sizes
have drawn apart, then picks. From the pick on the factor of the picked units grows; under ``greg-2`` kept
units get the optimizer's own weight decay back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch

from prunecli.regularizers.penalties import Penalty
from prunecli.regularizers.registry import Method, Regularized, register_regularizer

GONE = 1000.0
"""Kept over picked magnitude at which picked units count as gone."""

_GROWING = 2 / 3
"""The share of the steps in which the factor reaches its ceiling; the rest lets the network settle."""


@dataclass(frozen=True)
class Ladder:
    """How the factor grows: by ``slow`` every ``every`` steps while all units are pulled; above ``pick_at``
    units are picked, and from there by ``fast``, up to ``ceiling``. ``pick_at`` None: picked at once.
    """

    fast: float
    every: int
    ceiling: float
    slow: float = 0.0
    pick_at: float | None = None

    @property
    def updates(self) -> float:
        """How many it takes from 0 to the ceiling."""
        if self.pick_at is None:
            return self.ceiling / self.fast
        return self.pick_at / self.slow + (self.ceiling - self.pick_at) / self.fast

    def fitting(self, steps: int) -> Ladder:
        """The same with increments that reach the ceiling in two thirds of ``steps``."""
        scale = self.updates / max(1, int(_GROWING * steps) // self.every)
        return Ladder(self.fast * scale, self.every, self.ceiling, self.slow * scale, self.pick_at)


class Growing(Penalty):
    """``1/2 lambda ||w_k||^2`` over the picked units; over all units before the pick."""

    def __init__(self, asked: Regularized) -> None:
        super().__init__(asked)
        self._pick = asked.pick
        self._decay = asked.weight_decay
        numbers = self.values
        ladder = Ladder(
            numbers["delta"], max(1, round(numbers["every"])), numbers["tau"], numbers.get("delta-all", 0.0),
            numbers.get("tau-pick"),
        )  # fmt: skip
        fixed = asked.given & {"delta", "delta-all"}
        self.ladder = ladder if fixed else ladder.fitting(asked.steps)
        self.step = 0
        self.factor = 0.0

    def after_backward(self) -> None:
        if self.step % self.ladder.every == 0:
            self._update()
        self.step += 1
        if self.picked is None:
            sizes = {name: group.size for name, group in self.units.groups.items()}
            self.units.pull({name: torch.full((n,), self.factor) for name, n in sizes.items()})
            return
        self.units.pull({group: going.float() * self.factor for group, going in self.picked.items()})
        if self.ladder.pick_at is not None:
            self.units.recover(self.picked, self._decay)

    def _update(self) -> None:
        ladder = self.ladder
        if self.picked is None and (ladder.pick_at is None or self.factor > ladder.pick_at):
            self.picked = dict(self._pick())
        if self.picked is not None and self.ratio() >= GONE:
            return
        grown = self.factor + (ladder.slow if self.picked is None else ladder.fast)
        self.factor = min(grown, ladder.ceiling)

    def ratio(self) -> float:
        """Kept over picked magnitude (root mean squares per unit) in the slot where it is smallest."""
        found: list[float] = []
        for (_, _, group), squares in self.units.squares().items():
            going = (self.picked or {}).get(group)
            if going is None or not bool(going.any()):
                continue
            going = going.to(squares.device)
            if bool(squares[~going].any()):
                gone = squares[going].mean().clamp(min=torch.finfo(squares.dtype).tiny)
                found.append(float((squares[~going].mean() / gone).sqrt()))
        return min(found, default=float("inf"))

    def facts(self) -> Mapping[str, Any]:
        ratio = self.ratio() if self.picked is not None else 1.0
        told: dict[str, Any] = {"delta": self.ladder.fast, "lambda": self.factor}
        told["kept / picked"] = ratio if isfinite(ratio) else None
        if self.ladder.pick_at is not None:
            told["delta-all"] = self.ladder.slow
        return {**told, "converged": self.picked is not None and ratio >= GONE}

    def state_dict(self) -> Mapping[str, Any]:
        picked = None if self.picked is None else dict(self.picked)
        return {"step": self.step, "factor": self.factor, "picked": picked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.step, self.factor, self.picked = state["step"], state["factor"], state["picked"]


SOURCE = "Wang et al. 2021 (GReg), Algorithm 1"
register_regularizer(
    Method(
        "greg-1", "picks by L1, then pulls the picked units to nothing, ever stronger", SOURCE, Growing,
        {"delta": 1e-4, "every": 10, "tau": 1.0}, picks=True,
    )
)  # fmt: skip
register_regularizer(
    Method(
        "greg-2", "pulls all units until they have drawn apart, then picks and goes on like greg-1", SOURCE,
        Growing,
        {"delta": 1e-4, "delta-all": 1e-5, "every": 10, "tau": 1.0, "tau-pick": 0.01}, picks=True,
    )
)  # fmt: skip

"""How a regularizer takes part in a training: on which units, and what it is told to remove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.coupling.space import Space
from prunecli.errors import InputError, UsageError
from prunecli.plan import Plan
from prunecli.regularizers import Method, Penalty, Picked, Regularized, Units
from prunecli.report.epochs import Sparsity
from prunecli.selection import Asked, Limits, Target, choose
from prunecli.selection.singled import singled
from prunecli.stages.course import Shrinking
from prunecli.training.hooks import Regularizer

SPARSIFY = "sparsify"


def require_pickable(method: Method, target: Target | None, asked: Asked) -> None:
    """Raises ``UsageError`` for a method that picks, and anything but one target to pick for."""
    if not method.picks:
        return
    if target is None:
        raise UsageError(f"{method.name} needs exactly one target", "like --speedup 2")
    if asked.ratios:
        other = next(iter(asked.ratios))
        raise UsageError(f"{method.name} picks for one target, not for {other}", f"leave {other} out")


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """As they are at the moment."""
    return {name: tensor.detach() for name, tensor in all_tensors(network).items()}


@dataclass(frozen=True)
class Picking:
    """How units are picked: as ``prune run`` would choose them from the weights of the moment."""

    space: Space
    asked: Asked
    target: Target | None
    scheme: str
    limits: Limits
    seed: int
    device: torch.device

    def plan(self, network: nn.Module) -> Plan:
        return choose(
            self.space, tensors_of(network), criterion="magnitude-l1", scheme=self.scheme, target=self.target,
            limits=self.limits, seed=self.seed, reduce="first", asked=self.asked, device=str(self.device),
        ).plan  # fmt: skip

    def picked(self, plan: Plan) -> Picked:
        found = {}
        for name, kept in plan.keep.items():
            going = torch.ones(plan.dense[name], dtype=torch.bool, device=self.device)
            going[list(kept)] = False
            found[name] = going
        return found


@dataclass
class UnitSparsifier:
    """A :class:`prunecli.training.hooks.Sparsifier` by a registered method."""

    shrinking: Shrinking
    picking: Picking
    weight_decay: float
    name: str = SPARSIFY
    _regularizer: Regularizer | None = None

    @property
    def identity(self) -> Mapping[str, Any]:
        picking, shape = self.picking, dict[str, Any]()
        if self.shrinking.method.picks:
            shape = {"--scheme": picking.scheme, "--protect": picking.limits.protect}
        return {
            **self.shrinking.identity, "target": None if picking.target is None else str(picking.target),
            "--only": ",".join(picking.asked.only), "--ignore": ",".join(picking.asked.ignore), **shape,
        }  # fmt: skip

    def begin(self, network: nn.Module, steps: int) -> Regularizer:
        units = Units(singled(self.picking.asked, self.picking.space, alone=False).space, network)
        if not units.groups:
            raise InputError("no group of this network can lose units", "prune inspect --groups says why")

        def pick() -> Picked:
            return self.picking.picked(self.picking.plan(network))

        made = self.shrinking
        asked = Regularized(units, made.values, made.given, steps, self.weight_decay, pick)
        self._regularizer = made.method.make(asked)
        return self._regularizer

    @property
    def plan(self) -> Plan | None:
        """What the regularizer picked, also where it was picked before the run was resumed."""
        picked = self._regularizer.picked if isinstance(self._regularizer, Penalty) else None
        if picked is None:
            return None
        kept = {name: tuple((~going).nonzero().flatten().tolist()) for name, going in picked.items()}
        return Plan(kept, {name: len(going) for name, going in picked.items()})

    def told(self) -> tuple[Sparsity, Sequence[str]]:
        made, method = self._regularizer, self.shrinking.method
        facts: dict[str, Any] = dict(made.facts()) if isinstance(made, Penalty) else {}
        plan, notes = self.plan, list[str]()
        if facts.get("converged") is False:
            notes.append(_not_converged(method.name, facts.get("kept / picked")))
        gone = None if plan is None else sum(plan.dense[name] - len(kept) for name, kept in plan.keep.items())
        target = None if self.picking.target is None else str(self.picking.target)
        return Sparsity(method.name, dict(self.shrinking.values), facts, target, gone), notes


def _not_converged(name: str, ratio: float | None) -> str:
    more = "more epochs, or a higher learning rate"
    if ratio is None:
        return f"{name} has not picked anything yet ({more})"
    return (
        f"{name} has not converged: picked units are {ratio:.3g} times smaller than kept ones in the slot "
        f"where that is least, wanted 1000 ({more})"
    )

"""Penalties on all units alike: L1 on BatchNorm scales, group lasso, and norms weighed by importance.

Each adds the gradient of a penalty after backward, before the optimizer's step; coefficients are held
constant in the derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from prunecli.regularizers.registry import Method, Picked, Regularized, register_regularizer
from prunecli.regularizers.units import Units

STRENGTH = 1e-4


class Penalty:
    """What regularizers have in common: nothing remembered, nothing to tell. ``picked``: the units that are
    to go, for those that pick.
    """

    picked: Picked | None = None

    def __init__(self, asked: Regularized) -> None:
        self.units: Units = asked.units
        self.values = asked.values

    def after_epoch(self, epoch: int) -> None:
        """Nothing changes between epochs."""

    def facts(self) -> Mapping[str, Any]:
        """What the report tells of it at the end: numbers, texts and truths by name."""
        return {}

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """There is nothing to load."""


class UnitPenalty(Penalty, ABC):
    """Adds ``coefficients(...)[k] * w`` to the gradient of every weight ``w`` of unit ``k``."""

    @abstractmethod
    def coefficients(self, group: str, norms: Tensor) -> Tensor:
        """For the units of ``group``, whose Euclidean norms over all slots are ``norms [n]``: ``[n]``."""

    def after_backward(self) -> None:
        norms = self.units.norms()
        self.units.pull({group: self.coefficients(group, each) for group, each in norms.items()})


class GroupLasso(UnitPenalty):
    """``strength * sum_k ||w_k||``."""

    def coefficients(self, group: str, norms: Tensor) -> Tensor:
        return torch.where(norms > 0, self.values["strength"] / norms, 0.0)


class GroupNorm(UnitPenalty):
    """``strength / 2 * sum_k c_k ||w_k||^2``, ``c_k`` from 1 (the largest) to ``2^alpha`` (the smallest)."""

    def coefficients(self, group: str, norms: Tensor) -> Tensor:
        return self.values["strength"] * 2 ** (self.values["alpha"] * smallness(norms))


class GrowingBySize(UnitPenalty):
    """``1/2 sum_k lambda_k ||w_k||^2``; ``lambda_k`` grows by epoch, the faster the smaller the unit."""

    def __init__(self, asked: Regularized) -> None:
        super().__init__(asked)
        self._strengths: dict[str, Tensor] = {}

    def coefficients(self, group: str, norms: Tensor) -> Tensor:
        if group not in self._strengths:
            self._strengths[group] = torch.full_like(norms, self.values["strength"])
        return self._strengths[group].to(norms)

    def after_epoch(self, epoch: int) -> None:
        for group, norms in self.units.norms().items():
            grown = self.values["delta"] * smallness(norms)
            self._strengths[group] = self.coefficients(group, norms) + grown

    def facts(self) -> Mapping[str, Any]:
        return {"largest lambda": max((float(each.max()) for each in self._strengths.values()), default=0.0)}

    def state_dict(self) -> Mapping[str, Any]:
        return {"strengths": dict(self._strengths)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._strengths = dict(state["strengths"])


class BatchNormScale(Penalty):
    """``strength * sum |gamma|`` over the BatchNorm scales of all units."""

    def after_backward(self) -> None:
        self.units.pull_scales(self.values["strength"])


def smallness(norms: Tensor) -> Tensor:
    """``(max - I_k) / (max - min)``: 0 for the largest, 1 for the smallest, 0 for all if they are equal."""
    most, least = norms.max(), norms.min()
    span = most - least
    return torch.where(span > 0, (most - norms) / torch.where(span > 0, span, 1.0), 0.0)


register_regularizer(
    Method(
        "bn-scale", "L1 on BatchNorm scales", "Liu et al. 2017 (Network Slimming), eq. 1", BatchNormScale,
        {"strength": STRENGTH},
    )
)  # fmt: skip
register_regularizer(
    Method(
        "group-lasso", "Euclidean norms of units, over all their slots", "Wen et al. 2016", GroupLasso,
        {"strength": STRENGTH},
    )
)  # fmt: skip
register_regularizer(
    Method(
        "group-norm", "squared norms, up to 2^alpha times as strong on small units",
        "Fang et al. 2023 (DepGraph)", GroupNorm, {"strength": STRENGTH, "alpha": 4.0},
    )
)  # fmt: skip
register_regularizer(
    Method(
        "growing-reg", "squared norms, growing by epoch on small units",
        "Wang et al. 2021, as in PruningBench", GrowingBySize, {"strength": STRENGTH, "delta": STRENGTH},
    )
)  # fmt: skip

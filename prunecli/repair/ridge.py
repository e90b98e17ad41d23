"""Ridge regression in closed form, shrunk toward given weights, its strength chosen by held-out error.

W' = argmin sum |y - W u - b|^2 + ridge |W - W0|^2 = W0 + (C - W0 G) (G + ridge I)^-1, with the moments G =
sum u u^T and C = sum y u^T of rows centred at their means (Hoerl & Kennard 1970). With G = V L V^T the
solutions of all strengths are A (L + ridge)^-1 V^T with one A, and their errors on other rows cost a matrix
product in all. An operation has one strength; of its groups those are changed that gain by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunecli.repair.moments import Moments

STRENGTHS = torch.logspace(-7, 3, 41, dtype=torch.float64)
"""Relative to the mean eigenvalue."""


@dataclass(frozen=True)
class Fit:
    """``weight [G, m, n]`` and ``bias [G, m]`` (as given, where it may not change). ``before`` and
    ``after``: the held-out error without and with the change, as a share of the variance of ``y``.
    """

    weight: Tensor
    bias: Tensor
    ridge: float
    before: float
    after: float


def fit(train: Moments, held: Moments, weight: Tensor, bias: Tensor, free_bias: bool) -> Fit | None:
    """The best strength on ``held``, then the solution on all rows. ``weight [G, m, n]``, ``bias [G, m]``.

    Groups that are no better on ``held`` stay as they are; None where that is all of them at every strength.
    """
    mean_u, mean_y = _means(train, bias, free_bias)
    inside, outside = train.centred(mean_u, mean_y), held.centred(mean_u, mean_y)
    scale = inside.uu.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(torch.float64).tiny)
    values, vectors = torch.linalg.eigh(inside.uu)
    strengths = STRENGTHS.to(values.device)
    shrunk = 1 / (values.clamp(min=0)[..., None] + scale[:, None, None] * strengths)
    gain = (inside.yu - weight @ inside.uu) @ vectors
    errors = outside.residual(weight)[:, None] + _changes(gain, vectors, outside, weight, shrunk)
    before = held.centred(torch.zeros_like(mean_u), bias).residual(weight)
    reached = errors.minimum(before[:, None]).sum(0)
    best = int(reached.argmin())
    gains = errors[:, best] < before
    if not bool(gains.any()):
        return None
    solved, intercept = _solve(train + held, weight, bias, float(strengths[best]), free_bias)
    solved, intercept = (
        torch.where(gains[:, None, None], solved, weight),
        torch.where(gains[:, None], intercept, bias),
    )
    spread = float(_spread(held))
    return Fit(
        solved, intercept, float(strengths[best]), float(before.sum()) / spread, float(reached[best]) / spread
    )


def _means(moments: Moments, bias: Tensor, free_bias: bool) -> tuple[Tensor, Tensor]:
    if free_bias:
        return moments.u / moments.rows, moments.y / moments.rows
    return torch.zeros_like(moments.u), bias


def _spread(moments: Moments) -> Tensor:
    centred = moments.yy - moments.y.square() / moments.rows
    return centred.sum().clamp(min=1e-300)


def _changes(gain: Tensor, vectors: Tensor, held: Moments, weight: Tensor, shrunk: Tensor) -> Tensor:
    """How much the held-out sum of squares of each group changes for every strength, ``[G, strengths]``.

    With the change of weights D = gain diag(s) V^T it is tr(D G D^T) - 2 tr(D (C - W0 G)^T).
    """
    quadratic = (gain.mT @ gain) * (vectors.mT @ held.uu @ vectors)
    linear = (gain * ((held.yu - weight @ held.uu) @ vectors)).sum(1)
    return ((quadratic @ shrunk) * shrunk).sum(1) - 2 * (linear[..., None] * shrunk).sum(1)


def _solve(
    moments: Moments, weight: Tensor, bias: Tensor, strength: float, free_bias: bool
) -> tuple[Tensor, Tensor]:
    mean_u, mean_y = _means(moments, bias, free_bias)
    centred = moments.centred(mean_u, mean_y)
    scale = centred.uu.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(torch.float64).tiny)
    ridge = (strength * scale)[:, None, None] * torch.eye(
        weight.shape[2], dtype=torch.float64, device=weight.device
    )
    change = torch.linalg.solve(centred.uu + ridge, (centred.yu - weight @ centred.uu).mT).mT
    solved = weight + change
    intercept = mean_y - (solved @ mean_u[..., None])[..., 0] if free_bias else bias
    return solved, intercept

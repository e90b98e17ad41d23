"""Sums over rows: all that a least-squares fit needs of its data, whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Of ``rows`` rows of inputs ``u`` and outputs ``y`` in float64: ``uu [G, n, n]``, ``yu [G, m, n]``, ``u
    [G, n]``, ``y [G, m]``, ``yy [G, m]`` (sums of squares).
    """

    rows: int
    uu: Tensor
    yu: Tensor
    u: Tensor
    y: Tensor
    yy: Tensor

    @staticmethod
    def of(u: Tensor, y: Tensor) -> Moments:
        """``u [G, rows, n]``, ``y [G, rows, m]``."""
        u, y = u.double(), y.double()
        return Moments(
            u.shape[1], u.mT @ u, y.mT @ u, u.sum(1), y.sum(1), y.square().sum(1)
        )  # fmt: skip

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.rows + other.rows, self.uu + other.uu, self.yu + other.yu, self.u + other.u,
            self.y + other.y, self.yy + other.yy,
        )  # fmt: skip

    def centred(self, mean_u: Tensor, mean_y: Tensor) -> Moments:
        """The moments of ``u - mean_u`` and ``y - mean_y``."""
        n, outer = self.rows, torch.einsum
        uu = (
            self.uu - outer("gi,gj->gij", self.u, mean_u) - outer("gi,gj->gij", mean_u, self.u)
            + n * outer("gi,gj->gij", mean_u, mean_u)
        )  # fmt: skip
        yu = (
            self.yu - outer("gi,gj->gij", self.y, mean_u) - outer("gi,gj->gij", mean_y, self.u)
            + n * outer("gi,gj->gij", mean_y, mean_u)
        )  # fmt: skip
        yy = self.yy - 2 * mean_y * self.y + n * mean_y.square()
        return Moments(n, uu, yu, self.u - n * mean_u, self.y - n * mean_y, yy)

    def residual(self, weight: Tensor) -> Tensor:
        """Sum of squares of ``y - weight u`` (``weight [G, m, n]``) in each group, ``[G]``."""
        fitted = ((weight @ self.uu) * weight).sum((1, 2))
        return self.yy.sum(1) - 2 * (weight * self.yu).sum((1, 2)) + fitted

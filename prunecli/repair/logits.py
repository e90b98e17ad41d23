"""Queries and keys cut in width, solved for the logits that they make together (as in CORP, 2026).

Per head, with queries ``Q [L, d]`` and keys ``K [S, d]`` of the dense network, ``Q'`` and ``K'`` of the
pruned one (``d'`` wide) and their scales ``c`` and ``c'``: ``M [d', d']`` minimises ``sum |c Q K^T - c' Q' M
K'^T|^2 + ridge |M - I|^2`` over the blocks (samples or windows), and the queries become ``Q' M``. What the
removed features contributed is said by products of any two that are left. Softmax is left out.

In the entries of ``M`` this is a least-squares problem whose matrix is ``sum (Q'^T Q') kron (K'^T K')``. It
is written out for narrow heads; for wider ones it is restricted to the directions that ``STEPS`` steps of
conjugate gradients from ``I`` would take (and ``I`` itself), for which products of ``d' x d'`` matrices do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from prunecli.repair.moments import Moments
from prunecli.repair.ridge import fit
from prunecli.running.calls import Call, Heads

NARROW = 24
"""Features of a head up to which the matrix is written out."""
STEPS = 48
MOST_BLOCKS = 512
"""Of one head, over all chunks."""


@dataclass(frozen=True)
class Match:
    """The same blocks of both networks: ``here`` and ``there [heads, n]`` are their numbers, ``channels
    [heads, d']`` the outputs of the pruned projection that make the queries.
    """

    here: Tensor
    there: Tensor
    channels: Tensor


def matched(there: Heads, here: Heads, kept: Tensor) -> Match | None:
    """``kept``: the outputs of the dense projection that stay. None where the blocks of the pruned network
    are not those of some heads of the dense one, each once.
    """
    wide, of_wide = torch.unique(there.channels, dim=0, return_inverse=True)
    narrow, of_narrow = torch.unique(here.channels, dim=0, return_inverse=True)
    head_of = torch.full((int(max(wide.max(), kept.max())) + 1,), -1)
    head_of[wide] = torch.arange(len(wide))[:, None]
    heads = head_of[kept.cpu()[narrow]]
    if bool((heads != heads[:, :1]).any()) or bool((heads < 0).any()) or len(of_narrow) % len(narrow):
        return None
    keys = there.rows[:, 0] * len(wide) + of_wide
    wanted = here.rows[:, 0] * len(wide) + heads[of_narrow, 0]
    order = keys.argsort()
    if bool((keys[order].diff() == 0).any()) or bool((wanted.sort().values.diff() == 0).any()):
        return None
    found = order[torch.searchsorted(keys[order], wanted).clamp(max=len(keys) - 1)]
    if not torch.equal(keys[found], wanted) or not torch.equal(there.rows[found], here.rows):
        return None
    blocks = of_narrow.argsort(stable=True).reshape(len(narrow), -1)
    return Match(blocks, found[blocks], narrow)


@dataclass(frozen=True)
class Grams:
    """All that the fit needs of some blocks, in float64, with queries times their scale. Of each block
    ``Q'^T Q'`` and ``K'^T K'``: ``qq`` and ``kk [heads, n, d', d']``. Of all ``entries`` together the dense
    logits against the products of two features: ``cross [heads, d', d']``, the sums of those products: ``u
    [heads, d', d']``, and the sum and sum of squares of the dense logits: ``y`` and ``yy [heads]``.
    """

    entries: int
    qq: Tensor
    kk: Tensor
    cross: Tensor
    u: Tensor
    y: Tensor
    yy: Tensor

    @staticmethod
    def of(there: Call, here: Call, match: Match, most: int, seed: int) -> Grams:
        """At most ``most`` blocks of each head, drawn by ``seed``."""
        blocks = torch.arange(match.here.shape[1])
        if len(blocks) > most:
            generator = torch.Generator().manual_seed(seed)
            blocks = torch.randperm(len(blocks), generator=generator)[:most].sort().values
        wide, narrow = _sides(there, match.there[:, blocks]), _sides(here, match.here[:, blocks])
        (q, k), (q_cut, k_cut) = wide, narrow
        crossed = (q_cut.mT @ q) @ (k.mT @ k_cut)
        return Grams(
            q.shape[1] * q.shape[2] * k.shape[2],
            q_cut.mT @ q_cut,
            k_cut.mT @ k_cut,
            crossed.sum(1),
            (q_cut.sum(2)[..., :, None] * k_cut.sum(2)[..., None, :]).sum(1),
            (q.sum(2) * k.sum(2)).sum((1, 2)),
            ((q.mT @ q) * (k.mT @ k)).sum((1, 2, 3)),
        )

    def __add__(self, other: Grams) -> Grams:
        return Grams(
            self.entries + other.entries, torch.cat([self.qq, other.qq], 1),
            torch.cat([self.kk, other.kk], 1), self.cross + other.cross, self.u + other.u,
            self.y + other.y, self.yy + other.yy,
        )  # fmt: skip

    def head(self, number: int) -> Grams:
        part = slice(number, number + 1)
        return Grams(
            self.entries, self.qq[part], self.kk[part], self.cross[part], self.u[part],
            self.y[part], self.yy[part],
        )  # fmt: skip

    def applied(self, matrices: Tensor) -> Tensor:
        """``sum Q'^T Q' M K'^T K'`` for each ``M`` of ``matrices [m, d', d']``, of one head."""
        return torch.stack([(self.qq[0] @ matrix @ self.kk[0]).sum(0) for matrix in matrices])

    def moments(self, basis: Tensor | None) -> Moments:
        """Of one head, in the coordinates of ``M`` in ``basis [m, d', d']`` (None: its entries)."""
        size = self.cross[0].numel()
        if basis is None:
            width = self.cross.shape[-1]
            pairs = (self.qq[0].flatten(1).T @ self.kk[0].flatten(1)).reshape([width] * 4)
            uu = pairs.transpose(1, 2).reshape(size, size)
            directions = torch.eye(size, dtype=uu.dtype, device=uu.device)
        else:
            directions = basis.flatten(1)
            uu = directions @ self.applied(basis).flatten(1).T
            uu = (uu + uu.T) / 2
        return Moments(
            self.entries, uu[None], (directions @ self.cross[0].flatten())[None, None],
            (directions @ self.u[0].flatten())[None], self.y[None], self.yy[None],
        )  # fmt: skip


@dataclass(frozen=True)
class Mix:
    """``matrix [d', d']`` (None: none is better on held-out blocks) by which the queries of a head are
    multiplied from the right; ``ridge`` is relative to the mean eigenvalue. Sums of squares on held-out
    blocks: the error ``before`` and ``after``, and what the dense logits ``vary``.
    """

    matrix: Tensor | None
    ridge: float
    before: float
    after: float
    vary: float


def mixed(train: Grams, held: Grams) -> Mix:
    """For one head."""
    width = train.cross.shape[-1]
    start = torch.eye(width, dtype=train.cross.dtype, device=train.cross.device)
    basis = None if width <= NARROW else _basis(train, start)
    inside, outside = train.moments(basis), held.moments(basis)
    begin = start.flatten() if basis is None else basis.flatten(1) @ start.flatten()
    weight, bias = begin[None, None], torch.zeros_like(begin[:1])[None]
    vary = float(outside.yy.sum() - (outside.y.square() / outside.rows).sum())
    before = float(outside.residual(weight))
    found = fit(inside, outside, weight, bias, free_bias=False)
    if found is None:
        return Mix(None, float("inf"), before, before, vary)
    solved = found.weight[0, 0]
    matrix = solved.reshape(width, width) if basis is None else torch.einsum("m,mij->ij", solved, basis)
    return Mix(matrix, found.ridge, before, found.after * vary, vary)


def _basis(grams: Grams, start: Tensor) -> Tensor:
    """Orthonormal ``[m, d', d']``: the Krylov space of what ``start`` leaves, and ``start``."""
    rest = grams.cross[0] - grams.applied(start[None])[0]
    found: list[Tensor] = []
    tiny = 1e-10
    for _ in range(STEPS):
        size = rest.norm()
        for other in found * 2:
            rest = rest - (rest * other).sum() * other
        if not bool(rest.norm() > tiny * size):
            break
        found.append(rest / rest.norm())
        rest = grams.applied(found[-1][None])[0]
    size = start.norm()
    for other in found * 2:
        start = start - (start * other).sum() * other
    if bool(start.norm() > tiny * size):
        found.append(start / start.norm())
    return torch.stack(found)


def folded(matrix: Tensor, channels: Tensor, mixes: Sequence[Tensor | None]) -> Tensor:
    """``matrix [O, ...]``, of which rows ``channels[head]`` make the queries of a head, with ``mixes``."""
    result = matrix.clone()
    for rows, mix in zip(channels, mixes, strict=True):
        if mix is not None:
            result[rows] = torch.einsum("ij,i...->j...", mix.to(matrix.dtype), matrix[rows])
    return result


def correct(here: Call, match: Match, mixes: Sequence[Tensor | None]) -> None:
    """Queries that were made before the weights changed, in place."""
    blocks = here.x.reshape(-1, *here.x.shape[-2:]).clone()
    for numbers, mix in zip(match.here, mixes, strict=True):
        if mix is not None:
            blocks[numbers] = blocks[numbers] @ mix.to(blocks.dtype)
    here.x.copy_(blocks.reshape(here.x.shape))


def summed(parts: Sequence[tuple[bool, Grams]]) -> tuple[Grams, Grams]:
    """Of the chunks that are not held out, and of those that are."""
    ordered = {held: [grams for out, grams in parts if out is held] for held in (False, True)}
    return reduce(Grams.__add__, ordered[False]), reduce(Grams.__add__, ordered[True])


def work(rows: float, width: int, heads: int, blocks: int) -> float:
    """Multiply-adds of ``heads`` heads with that many ``rows`` of queries in all, and ``blocks`` each."""
    used = min(blocks, MOST_BLOCKS)
    grams = 6 * rows * width**2 * used / max(1, blocks)
    if width <= NARROW:
        return grams + heads * (used * width**4 + 12 * width**6)
    return grams + heads * 4 * used * STEPS * width**3


def _sides(call: Call, blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (scaled) and keys ``[heads, n, L or S, d]``; one block of keys may be that of some heads."""
    heads = call.heads
    if heads is None:
        raise ValueError("these are no logits")
    q, k = (side.reshape(-1, *side.shape[-2:]) for side in (call.x, call.weight))
    blocks = blocks.to(q.device)
    shared = len(q) // len(k)
    return q[blocks].double() * heads.scale, k[blocks // shared].double()

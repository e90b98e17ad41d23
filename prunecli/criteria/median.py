"""``fpgm``: units near the geometric median of their slot are replaceable by the others (He et al. 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import SlotView

# Distances of so many pairs are held at once: 32 MiB of float64.
_PAIRS = 1 << 22
# Below this share of the squared norms the product form has lost too many digits to cancellation.
_CANCELLED = 1e-5


def distance_sums(rows: Tensor) -> Tensor:
    """For every row of ``[n, m]``, the sum of its Euclidean distances to all rows: float64 ``[n]``.

    ``|a|^2 + |b|^2 - 2ab`` is exact enough and fast for rows that are apart; pairs that are close are
    subtracted directly, so that equal rows are at distance exactly 0.
    """
    norms = rows.square().sum(1)
    sums = []
    for start in range(0, len(rows), max(1, _PAIRS // len(rows))):
        chunk = slice(start, start + max(1, _PAIRS // len(rows)))
        total = norms[chunk, None] + norms[None, :]
        squared = total - 2 * (rows[chunk] @ rows.T)
        close = squared <= _CANCELLED * total
        squared.clamp_(min=0)[close] = _close_pairs(rows[chunk], rows, close)
        sums.append(squared.sqrt().sum(1))
    return torch.cat(sums)


def _close_pairs(left: Tensor, right: Tensor, close: Tensor) -> Tensor:
    """Squared distances of the pairs marked in ``close``, in row-major order."""
    a, b = close.nonzero(as_tuple=True)
    step = max(1, _PAIRS // max(1, left.shape[1]))
    pieces = []
    for start in range(0, len(a), step):
        pairs = slice(start, start + step)
        pieces.append((left[a[pairs]] - right[b[pairs]]).square().sum(1))
    return torch.cat(pieces) if pieces else left.new_zeros(0)


def _distances(slot: SlotView) -> Tensor | None:
    return distance_sums(slot.rows()).cpu() if slot.role in ("out", "in") else None


register_criterion(
    Criterion(
        "fpgm", "sum of distances to the other units' weights", "He et al. 2019", _distances,
        not_scorable="no convolution or linear weight",
    )
)  # fmt: skip

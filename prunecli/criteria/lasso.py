"""The path of a LASSO from its Gram matrix (Efron et al. 2004, least angle regression with the LASSO's
modification).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TIED = 1e-12
_COLLINEAR = 1e-10
_EVENTS = 8
_REFRESH = 256


def entries(gram: Tensor, along: Tensor) -> Tensor:
    """For each of ``n`` columns the largest ``lambda`` at which it has a coefficient in the minimum of
    ``1/2 |y - X b|^2 + lambda |b|_1``; 0 where it never has.

    ``gram [n, n]`` is ``X'X``, ``along [n]`` is ``X'y``, both float64. The path starts at the largest of
    ``|along|`` and goes down to 0; on the way coefficients change on straight lines, until one becomes zero
    or another column enters. It ends after ``8 n`` such events, which only rounding can bring about.
    """
    path = _Path(gram, along)
    for event in range(1, _EVENTS * len(along) + 1):
        if not path.goes_on():
            break
        if event % _REFRESH == 0:
            path.refresh()
    return path.entered


class _Path:
    """The columns with coefficients, ``k`` of them in the order of ``inside``: ``rows[:k]`` are theirs of the
    Gram matrix, ``inverse[:k, :k]`` is the inverse of their part of it.
    """

    def __init__(self, gram: Tensor, along: Tensor) -> None:
        self._gram = gram
        self._along = along
        self._left = along.clone()
        """Inner products of the columns with what is not explained yet."""
        self._inside: list[int] = []
        self._coefficients = torch.zeros_like(along)
        self._signs = torch.zeros_like(along)
        self._inverse = torch.zeros_like(gram)
        self._rows = torch.zeros_like(gram)
        self._out = torch.zeros(len(along), dtype=torch.bool)
        """Columns that may not enter: those inside, and copies of what is inside."""
        self._barred: int | None = None
        self._height = float(along.abs().max()) if len(along) else 0.0
        self._least = _TIED * self._height
        self.entered = torch.zeros_like(along)
        if self._height > 0:
            for tied in self._tied():
                self._enter(tied)

    def goes_on(self) -> bool:
        """To the next event; False at the end of the path."""
        count = len(self._inside)
        if self._height <= self._least or not count:
            return False
        direction = self._inverse[:count, :count] @ self._signs[:count]
        change = direction @ self._rows[:count]
        step, column = self._next_in(change)
        leaving = -self._coefficients[:count] / direction
        leaving[~(leaving > 0)] = torch.inf
        gone = int(leaving.argmin())
        is_leaving = float(leaving[gone]) < step
        step = float(leaving[gone]) if is_leaving else step
        self._coefficients[:count] += step * direction
        self._left -= step * change
        self._height -= step
        self._barred = None
        if is_leaving:
            self._leave(gone)
        elif column is not None:
            self._enter(column)
            for tied in self._tied():
                self._enter(tied)
        return self._height > self._least

    def refresh(self) -> None:
        """Without the rounding that the events have added up."""
        count = len(self._inside)
        inside = self._gram[self._inside][:, self._inside]
        self._inverse[:count, :count] = torch.cholesky_inverse(torch.linalg.cholesky(inside))
        self._left = self._along - self._coefficients[:count] @ self._rows[:count]

    def _next_in(self, change: Tensor) -> tuple[float, int | None]:
        """How far to where the next column is as correlated as those inside, and which."""
        upper = (self._height - self._left) / (1 - change)
        lower = (self._height + self._left) / (1 + change)
        upper[~(change < 1 - _TIED)] = torch.inf
        lower[~(change > -1 + _TIED)] = torch.inf
        if self._barred is not None:
            (upper if self._left[self._barred] > 0 else lower)[self._barred] = torch.inf
        steps = torch.minimum(upper, lower).clamp(min=0)
        steps[self._out] = torch.inf
        column = int(steps.argmin())
        step = float(steps[column])
        return (step, column) if step < self._height else (self._height, None)

    def _tied(self) -> list[int]:
        """Columns outside that are as correlated as those inside."""
        found = (self._left.abs() >= self._height - self._least) & ~self._out
        return [column for column in found.nonzero().flatten().tolist() if column != self._barred]

    def _enter(self, column: int) -> None:
        if self.entered[column] == 0:
            self.entered[column] = self._height
        self._out[column] = True
        count = len(self._inside)
        inverse = self._inverse[:count, :count]
        across = inverse @ self._rows[:count, column]
        rest = float(self._gram[column, column] - across @ self._rows[:count, column])
        if rest <= _COLLINEAR * float(self._gram[column, column]):
            return
        inverse.addr_(across, across, alpha=1 / rest)
        self._inverse[count, :count] = self._inverse[:count, count] = -across / rest
        self._inverse[count, count] = 1 / rest
        self._rows[count] = self._gram[column]
        self._signs[count] = self._left[column].sign()
        self._coefficients[count] = 0
        self._inside.append(column)

    def _leave(self, place: int) -> None:
        """The column at ``place`` goes, and the last of those inside takes its place. It is as correlated as
        they are now, so until the next event it may come again only with the other sign.
        """
        last = len(self._inside) - 1
        order = torch.tensor([place, last]), torch.tensor([last, place])
        self._inverse[order[0]] = self._inverse[order[1]]
        self._inverse[:, order[0]] = self._inverse[:, order[1]]
        for held in (self._rows, self._signs, self._coefficients):
            held[order[0]] = held[order[1]]
        across = self._inverse[:last, last].clone()
        self._inverse[:last, :last].addr_(across, across, alpha=-1 / float(self._inverse[last, last]))
        self._barred = self._inside[place]
        self._out[self._barred] = False
        self._inside[place] = self._inside[last]
        self._inside.pop()

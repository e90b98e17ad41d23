"""The path of a LASSO from its Gram matrix (Efron et al. 2004, least angle regression with the LASSO's
modification).
"""

from __future__ import annotations

import torch
from torch import Tensor

_TIED = 1e-12
_COLLINEAR = 1e-10
_STEPS = 8


def entries(gram: Tensor, along: Tensor) -> Tensor:
    """For each of ``n`` columns the largest ``lambda`` at which it has a coefficient in the minimum of
    ``1/2 |y - X b|^2 + lambda |b|_1``; 0 where it never has.

    ``gram [n, n]`` is ``X'X``, ``along [n]`` is ``X'y``, both float64. The path starts at the largest of
    ``|along|`` and goes down to 0; on the way coefficients change on straight lines, until one becomes zero
    or another column enters. It ends after ``8 n`` such events, which only rounding can bring about.
    """
    path = _Path(gram, along)
    for _ in range(_STEPS * len(along)):
        if not path.goes_on():
            break
    return path.entered


class _Path:
    """``height`` is the present lambda; ``inside`` the columns with coefficients, in the order in which they
    came, and ``factor`` the Cholesky factor of their part of the Gram matrix.
    """

    def __init__(self, gram: Tensor, along: Tensor) -> None:
        self._gram = gram
        self._left = along.clone()
        """Inner products of the columns with what is not explained yet."""
        self._coefficients = torch.zeros_like(along)
        self._inside: list[int] = []
        self._signs = torch.zeros_like(along)
        self._factor = torch.zeros_like(gram)
        self._out = torch.zeros(len(along), dtype=torch.bool)
        """Columns that may not enter: those inside, and copies of what is inside."""
        self._barred: int | None = None
        self.entered = torch.zeros_like(along)
        self._height = float(along.abs().max()) if len(along) else 0.0
        self._least = _TIED * self._height
        if self._height > 0:
            self._enter(int(along.abs().argmax()))

    def goes_on(self) -> bool:
        """To the next event; False at the end of the path."""
        if self._height <= self._least or not self._inside:
            return False
        inside = torch.tensor(self._inside)
        direction = torch.zeros_like(self._coefficients)
        factor = self._factor[: len(inside), : len(inside)]
        direction[inside] = torch.cholesky_solve(self._signs[inside, None], factor)[:, 0]
        change = self._gram @ direction
        step, column = self._next_in(change)
        leaving = -self._coefficients / direction
        leaving[(direction == 0) | ~(leaving > 0)] = torch.inf
        gone = int(leaving.argmin())
        is_leaving = float(leaving[gone]) < step
        step = min(step, float(leaving[gone]), self._height)
        self._coefficients += step * direction
        self._left -= step * change
        self._height -= step
        self._barred = None
        if is_leaving:
            self._leave(gone)
        elif column is not None:
            self._enter(column)
        return self._height > self._least

    def _next_in(self, change: Tensor) -> tuple[float, int | None]:
        """How far to where the next column is as correlated as those inside, and which."""
        upper = (self._height - self._left) / (1 - change)
        lower = (self._height + self._left) / (1 + change)
        upper[~(change < 1 - _TIED)] = torch.inf
        lower[~(change > -1 + _TIED)] = torch.inf
        steps = torch.minimum(upper, lower).clamp(min=0)
        steps[self._out] = torch.inf
        if self._barred is not None:
            steps[self._barred] = torch.inf
        column = int(steps.argmin())
        step = float(steps[column])
        return (step, column) if step < self._height else (self._height, None)

    def _enter(self, column: int) -> None:
        self.entered[column] = max(float(self.entered[column]), self._height)
        self._out[column] = True
        known = len(self._inside)
        across = self._gram[self._inside, column]
        row = torch.linalg.solve_triangular(
            self._factor[:known, :known], across[:, None], upper=False
        )[:, 0]  # fmt: skip
        rest = float(self._gram[column, column] - row @ row)
        if rest <= _COLLINEAR * float(self._gram[column, column]):
            return
        self._factor[known, :known] = row
        self._factor[known, known] = rest**0.5
        self._inside.append(column)
        self._signs[column] = self._left[column].sign()

    def _leave(self, column: int) -> None:
        self._coefficients[column] = 0
        self._inside.remove(column)
        self._out[column] = False
        self._barred = column
        inside = torch.tensor(self._inside, dtype=torch.int64)
        size = len(inside)
        self._factor[:size, :size] = torch.linalg.cholesky(self._gram[inside][:, inside])
        self._factor[size:, :] = 0

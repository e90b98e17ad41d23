from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunecli.criteria.lasso import entries


def problem(seed: int, rows: int, columns: int, positive: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    x = (x.relu() if positive else x) * torch.rand(columns, generator=generator, dtype=torch.float64)
    return x, x.sum(1)


def minimum(x: Tensor, y: Tensor, height: float, sweeps: int = 4000) -> Tensor:
    """By coordinate descent, which shares nothing with a path."""
    b = torch.zeros(x.shape[1], dtype=x.dtype)
    squares, residual = x.square().sum(0), y.clone()
    for _ in range(sweeps):
        before = b.clone()
        for k in range(len(b)):
            if squares[k] == 0:
                continue
            along = x[:, k] @ residual + squares[k] * b[k]
            new = along.sign() * (along.abs() - height).clamp(min=0) / squares[k]
            residual += x[:, k] * (b[k] - new)
            b[k] = new
        if (b - before).abs().max() < 1e-13:
            break
    return b


@pytest.mark.parametrize(("rows", "columns", "positive"), [(40, 8, True), (40, 8, False), (5, 9, True)])
def test_a_column_has_a_coefficient_just_below_where_it_enters(
    rows: int, columns: int, positive: bool
) -> None:
    x, y = problem(3, rows, columns, positive)
    entered = entries(x.T @ x, x.T @ y)
    assert (entered > 0).sum() >= min(rows, columns)
    heights = sorted({float(e) for e in entered if e > 1e-3 * entered.max()}, reverse=True)
    for higher, lower in zip([2 * heights[0], *heights], [*heights, heights[-1] / 2], strict=True):
        between = minimum(x, y, (higher + lower) / 2)
        expected = entered >= higher * (1 - 1e-9)
        # One that has entered may be zero again for a while; one that has not is zero.
        assert not bool((between != 0)[~expected].any()), (higher, lower)
        just_below = minimum(x, y, lower * (1 - 1e-4))
        assert bool((just_below != 0)[(entered - lower).abs() < 1e-9 * lower].all())


def test_orthogonal_columns_enter_at_their_own_correlation() -> None:
    gram = torch.diag(torch.tensor([4.0, 9.0, 1.0, 0.0], dtype=torch.float64))
    along = torch.tensor([3.0, -5.0, 1.0, 0.0], dtype=torch.float64)
    assert torch.equal(entries(gram, along), torch.tensor([3.0, 5.0, 1.0, 0.0], dtype=torch.float64))


def test_a_copy_enters_with_what_it_is_a_copy_of() -> None:
    x, y = problem(1, 30, 4, False)
    x = torch.cat([x, x[:, 2:3]], 1)
    entered = entries(x.T @ x, x.T @ y)
    assert float(entered[4]) == pytest.approx(float(entered[2]), rel=1e-9)
    alone = entries(x[:, :4].T @ x[:, :4], x[:, :4].T @ y)
    assert torch.allclose(entered[:4], alone, rtol=1e-6)


def test_nothing_to_explain_lets_nothing_in() -> None:
    gram = torch.eye(3, dtype=torch.float64)
    assert torch.equal(
        entries(gram, torch.zeros(3, dtype=torch.float64)), torch.zeros(3, dtype=torch.float64)
    )


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), columns=st.integers(1, 40), rows=st.integers(2, 60))
@example(seed=2270, columns=1, rows=2)
def test_the_path_is_that_of_scikit_learn(seed: int, columns: int, rows: int) -> None:
    lars = pytest.importorskip("sklearn.linear_model").lars_path_gram
    x, y = problem(seed, rows, columns, positive=seed % 2 == 0)
    # Of correlations it takes the smallest single float for zero, whatever their unit.
    along = x.T @ y / (x.T @ y).abs().max().clamp(min=1e-300)
    found = entries(x.T @ x, along)
    heights, _, path = lars(along.numpy(), (x.T @ x).numpy(), n_samples=1, method="lasso")
    for k in range(columns):
        there = path[k].nonzero()[0]
        expected = heights[there[0] - 1] if len(there) else 0.0
        # Below this rounding decides, in either.
        if max(expected, float(found[k])) > 1e-6 * float(found.max()):
            assert float(found[k]) == pytest.approx(expected, rel=1e-6, abs=1e-9 * float(found.max()))


def test_long_paths_stay_exact() -> None:
    x, y = problem(0, 900, 600, positive=True)
    entered = entries(x.T @ x, x.T @ y)
    assert bool((entered > 0).all())
    last = float(entered.min())
    b = torch.linalg.solve(x.T @ x, x.T @ y - last / 2 * torch.ones(600, dtype=torch.float64))
    assert bool((b > 0).all()), "all columns are in at the end, with the signs of the whole sum"

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prunecli.repair.moments import Moments
from prunecli.repair.ridge import STRENGTHS, fit


def rows(
    seed: int, number: int, groups: int = 1, n: int = 6, m: int = 3, noise: float = 0.3
) -> tuple[Tensor, Tensor]:
    """Inputs that lean on each other, and outputs that are linear in them but for noise and a constant."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(groups, number, n, generator=generator, dtype=torch.float64)
    u = u @ torch.randn(groups, n, n, generator=torch.Generator().manual_seed(7), dtype=torch.float64) + 1
    truth = torch.randn(groups, m, n, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    y = u @ truth.mT + 2 + noise * torch.randn(groups, number, m, generator=generator, dtype=torch.float64)
    return u, y


def error(u: Tensor, y: Tensor, weight: Tensor, bias: Tensor) -> float:
    """The plain loop."""
    total = 0.0
    for group in range(u.shape[0]):
        for row in range(u.shape[1]):
            total += float((y[group, row] - weight[group] @ u[group, row] - bias[group]).square().sum())
    return total


@pytest.mark.parametrize("free_bias", [True, False])
def test_the_strength_is_the_best_of_all_on_held_out_rows(free_bias: bool) -> None:
    """Every strength is tried by hand: solved by ``lstsq``, measured by a loop."""
    (u, y), (hu, hy) = rows(0, 20), rows(1, 15)
    start, bias = torch.zeros(1, 3, 6, dtype=torch.float64), torch.full((1, 3), 0.5, dtype=torch.float64)
    found = fit(Moments.of(u, y), Moments.of(hu, hy), start, bias, free_bias)
    assert found is not None
    tried = []
    for strength in STRENGTHS.tolist():
        weight, constant = by_lstsq(u, y, start, bias, strength, free_bias)
        tried.append(error(hu, hy, weight, constant))
    best = min(range(len(tried)), key=tried.__getitem__)
    assert found.ridge == pytest.approx(float(STRENGTHS[best]))
    spread = float((hy - hy.mean(1, keepdim=True)).square().sum())
    assert found.after == pytest.approx(tried[best] / spread, rel=1e-6)
    assert found.before == pytest.approx(error(hu, hy, start, bias) / spread, rel=1e-9)
    everything = by_lstsq(torch.cat([u, hu], 1), torch.cat([y, hy], 1), start, bias, found.ridge, free_bias)
    assert torch.allclose(found.weight, everything[0], rtol=1e-6, atol=1e-9)
    assert torch.allclose(found.bias, everything[1], rtol=1e-6, atol=1e-9)


def by_lstsq(
    u: Tensor, y: Tensor, start: Tensor, bias: Tensor, strength: float, free_bias: bool
) -> tuple[Tensor, Tensor]:
    mean_u = u.mean(1, keepdim=True) if free_bias else torch.zeros_like(u[:, :1])
    mean_y = y.mean(1, keepdim=True) if free_bias else bias[:, None]
    centred, target = (u - mean_u)[0], (y - mean_y)[0]
    ridge = strength * centred.square().sum() / u.shape[2]
    root = ridge.sqrt() * torch.eye(u.shape[2], dtype=torch.float64)
    solved = torch.linalg.lstsq(torch.cat([centred, root]), torch.cat([target, root @ start[0].T])).solution.T
    return solved[None], (mean_y[:, 0] - (solved @ mean_u[0, 0])[None])


def test_what_is_right_already_is_left() -> None:
    """Noise cannot be fitted better than by the true weights, and nothing is changed then."""
    (u, y), (hu, hy) = rows(0, 12, noise=0.0), rows(1, 12, noise=0.0)
    truth = torch.randn(1, 3, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    two = torch.full((1, 3), 2.0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    y = y + torch.randn(y.shape, generator=generator, dtype=torch.float64)
    assert fit(Moments.of(u, y), Moments.of(hu, hy), truth, two, True) is None
    assert fit(Moments.of(u, y), Moments.of(hu, hy), truth * 0, two, True) is not None


def test_groups_that_do_not_gain_stay_as_they_are() -> None:
    """The first group's weights are the true ones, the second's are nothing at all."""
    (u, y), (hu, hy) = rows(0, 12, groups=2, noise=1.0), rows(1, 400, groups=2, noise=1.0)
    truth = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    start, two = truth.clone(), torch.full((2, 3), 2.0, dtype=torch.float64)
    start[1] = 0
    found = fit(Moments.of(u, y), Moments.of(hu, hy), start, two, True)
    assert found is not None
    assert torch.equal(found.weight[0], start[0])
    assert torch.equal(found.bias[0], two[0])
    second = fit(Moments.of(u[1:], y[1:]), Moments.of(hu[1:], hy[1:]), start[1:], two[1:], True)
    assert second is not None
    assert second.ridge == found.ridge
    assert torch.allclose(found.weight[1:], second.weight)
    assert torch.allclose(found.bias[1:], second.bias)
    whole = error(hu, hy, start, two)
    assert found.before == pytest.approx(
        whole / float((hy - hy.mean(1, keepdim=True)).square().sum()), rel=1e-9
    )


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 9), st.booleans())
def test_never_worse_than_nothing_on_held_out_rows(
    seed: int, groups: int, number: int, free_bias: bool
) -> None:
    (u, y), (hu, hy) = rows(seed, number, groups), rows(seed + 1, number, groups)
    start = torch.randn(groups, 3, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    bias = torch.zeros(groups, 3, dtype=torch.float64)
    found = fit(Moments.of(u, y), Moments.of(hu, hy), start, bias, free_bias)
    if found is not None:
        assert found.after < found.before
        assert bool(found.weight.isfinite().all())
        if not free_bias:
            assert torch.equal(found.bias, bias)

from __future__ import annotations

import torch

from prunecli.repair.moments import Moments


def test_sums_and_centring_by_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(2, 7, 3, generator=generator)
    y = torch.randn(2, 7, 4, generator=generator)
    found = Moments.of(u[:, :4], y[:, :4]) + Moments.of(u[:, 4:], y[:, 4:])
    at_u, at_y = u.double().mean(1), y.double().mean(1)
    centred = found.centred(at_u, at_y)
    assert found.rows == centred.rows == 7
    for group in range(2):
        uu = sum(torch.outer(row, row) for row in u[group].double())
        yu = sum(
            torch.outer(b, a)
            for a, b in zip(u[group].double() - at_u[group], y[group].double() - at_y[group], strict=True)
        )
        assert torch.allclose(found.uu[group], uu, rtol=1e-12)
        assert torch.allclose(centred.yu[group], yu, atol=1e-12)
        assert torch.allclose(centred.yy[group], (y[group].double() - at_y[group]).square().sum(0))
    assert torch.allclose(centred.u, torch.zeros_like(centred.u), atol=1e-12)
    weight = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
    left = (y.double() - u.double() @ weight.mT).square().sum((1, 2))
    assert torch.allclose(found.residual(weight), left, rtol=1e-12)

from __future__ import annotations

import torch
from torch import nn

from prunecli.repair import mixing
from prunecli.repair.moments import Moments
from prunecli.repair.ridge import fit
from prunecli.running.calls import Call


def call(weight: torch.Tensor, x: torch.Tensor, kind: str = "convolution") -> Call:
    return Call(kind, x, weight, None, "w")  # type: ignore[arg-type]


def test_channels_that_others_explain_are_said_by_them() -> None:
    """Of six channels the last three are mixtures of the first: nothing is lost by removing them."""
    torch.manual_seed(0)
    base = torch.randn(40, 3, 5, 5)
    x = torch.cat([base, torch.einsum("ij,njhw->nihw", torch.randn(3, 3), base)], 1)
    conv = nn.Conv2d(6, 4, 3, bias=False).requires_grad_(False)
    cut = conv.weight[:, :3].clone()
    kept = torch.arange(3)
    found = mixing.plan(call(conv.weight, x), call(cut, base), kept)
    assert found is not None
    train, held = (found.moments(x[part], base[part], 10_000, 0) for part in (slice(30), slice(30, 40)))
    fitted = fit(train, held, found.start, torch.zeros(1, 6, dtype=torch.float64), False)
    assert fitted is not None
    weight, shift = found.mixed(conv.weight, torch.arange(4), fitted)
    wanted, got = conv(x), torch.conv2d(base, weight.float())
    assert float((got - wanted).norm()) < 1e-3 * float(wanted.norm())
    assert float(shift.abs().max()) == 0


def test_features_of_a_flattened_image_are_mixed_by_channel() -> None:
    weight, narrow = torch.randn(4 * 9, 7), torch.randn(2 * 9, 7)
    kept = torch.cat([torch.arange(9), torch.arange(27, 36)])
    wide, slim = torch.randn(5, 36), torch.randn(5, 18)
    found = mixing.plan(call(weight, wide, "product"), call(narrow, slim, "product"), kept)
    assert found is not None
    assert (found.dense, found.inner, found.kept.tolist()) == (4, 9, [0, 3])
    sums = found.moments(wide, slim, 1000, 0)
    assert sums.rows == 45
    by_hand = Moments.of(slim.view(5, 2, 9).mT.reshape(1, 45, 2), wide.view(5, 4, 9).mT.reshape(1, 45, 4))
    assert torch.allclose(sums.yu, by_hand.yu)
    single = mixing.plan(call(weight, wide, "product"), call(narrow, slim, "product"), torch.arange(0, 36, 2))
    assert single is not None
    assert single.inner == 1

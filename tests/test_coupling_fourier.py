"""Fourier transforms and complex numbers: what is transformed stays, the rest passes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, free, reason

INVERSES = {
    "fft": "ifft",
    "rfft": "irfft",
    "fft2": "ifft2",
    "rfft2": "irfft2",
    "fftn": "ifftn",
    "hfft": "ihfft",
}


@pytest.mark.parametrize("name", INVERSES)
def test_transforms_of_positions_pass_channels(name: str) -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        dims = {"dim": (2, 3)} if name == "fftn" else {}
        z = getattr(torch.fft, name)(m.a(x), **dims) * 2
        back = getattr(torch.fft, INVERSES[name])(z, **dims)
        return m.b(back.real if back.is_complex() else back)

    space = check(Net(forward, a=nn.Conv2d(3, 8, 1), b=nn.Conv2d(8, 2, 1)), 2, 3, 4, 4)
    assert free(space) == {"a": 8}
    assert not space.unknown_operators


def test_a_transform_of_features_pins_them() -> None:
    """FNet mixes steps and features; the layers between stay free."""
    net = Net(
        lambda m, x: m.c(F.relu(m.b(torch.fft.fft(torch.fft.fft(m.a(x), dim=-1), dim=-2).real))),
        a=nn.Linear(4, 8), b=nn.Linear(8, 6), c=nn.Linear(6, 2),
    )  # fmt: skip
    space = check(net, 2, 5, 4)
    assert free(space) == {"b": 6}
    assert reason(space, "a.weight") == "a Fourier transform runs over it"


def test_a_learnt_filter_of_frequencies() -> None:
    """GFNet: a complex weight per frequency and channel, kept as pairs of real numbers."""

    def forward(m: Net, x: Tensor) -> Tensor:
        z = torch.fft.rfft2(m.a(x), dim=(1, 2), norm="ortho") * torch.view_as_complex(m.weight)
        return m.b(torch.fft.irfft2(z, s=x.shape[1:3], dim=(1, 2), norm="ortho"))

    net = Net(forward, a=nn.Linear(3, 8), b=nn.Linear(8, 2), weight=nn.Parameter(torch.randn(4, 3, 8, 2)))
    space = check(net, 2, 4, 4, 3)
    assert free(space) == {"a": 8}
    assert ("weight", 2) in {(slot.parameter, slot.dim) for slot in space.by_name["a"].slots}


def rotary(m: Net, x: Tensor) -> Tensor:
    """Attention whose queries and keys are turned as complex numbers, by angles that are in the file."""
    batch, tokens, _ = x.shape
    q, k, v = (layer(x).view(batch, tokens, m.heads, -1) for layer in (m.q, m.k, m.v))

    def turned(h: Tensor) -> Tensor:
        z = torch.view_as_complex(h.reshape(*h.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(z * m.angles[None, :tokens, None]).flatten(3)

    mixed = F.scaled_dot_product_attention(*(h.transpose(1, 2) for h in (turned(q), turned(k), v)))
    return m.out(mixed.transpose(1, 2).reshape(batch, tokens, -1))


@pytest.mark.parametrize("saved", [True, False])
def test_rotary_embeddings_as_complex_numbers(saved: bool) -> None:
    layers = {name: nn.Linear(4, 12) for name in ("q", "k", "v")}
    net = Net(rotary, **layers, out=nn.Linear(12, 2), heads=3)
    net.register_buffer("angles", torch.polar(torch.ones(5, 2), torch.rand(5, 2)), persistent=saved)
    space = check(net, 2, 5, 4)
    # Pairs of features turn together; a table that no file holds keeps them all.
    assert sorted(free(space).values()) == ([2, 4] if saved else [4])
    assert not space.unknown_operators

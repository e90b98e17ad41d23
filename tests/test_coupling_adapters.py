"""Attributes that merely describe weights follow their sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tracing import Net, check, example, half, patches

from prunecli.coupling.adapters import DESCRIPTIONS, register_description
from prunecli.proofs import pruned
from prunecli.surgery import cut


def test_layers_say_their_new_sizes() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.PReLU(8), nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 6, 2),
        nn.GroupNorm(1, 6), nn.Flatten(), nn.Linear(54, 10), nn.LayerNorm(10), nn.Linear(10, 2),
    ).eval()  # fmt: skip
    space = check(net, 2, 3, 4, 4)
    assert patches(space, "0") == {("out_channels", None): 4}
    assert patches(space, "1") == {("num_features", None): 4}
    assert patches(space, "2") == {("num_parameters", None): 4}
    assert patches(space, "3") == {("in_channels", None): 4, ("out_channels", None): 4, ("groups", None): 4}
    assert patches(space, "4") == {("in_channels", None): 4, ("out_channels", None): 3}
    assert patches(space, "5") == {("num_channels", None): 3}
    assert patches(space, "7") == {("in_features", None): 27, ("out_features", None): 5}
    assert patches(space, "8") == {("normalized_shape", 0): 5}
    assert patches(space, "9") == {("in_features", None): 5}


def test_grouped_convolutions_count_all_groups() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 12, 1, groups=3), nn.Conv2d(12, 2, 1))
    space = check(net, 2, 3, 4, 4)
    assert patches(space, "1") == {("in_channels", None): 3, ("out_channels", None): 6}


def test_what_is_printed_is_what_is_there() -> None:
    """Every describing attribute of the pruned copy equals the shape of the tensor it describes."""
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(24, 5)
    )
    space = check(net.eval(), 2, 3, 2, 2)
    tensors = cut({**dict(net.named_parameters()), **dict(net.named_buffers())}, space, half(space))
    smaller_net = pruned(net, space, tensors, half(space))
    assert (
        (smaller_net[0].in_channels, smaller_net[0].out_channels)
        == (3, smaller_net[0].weight.shape[0])
        == (3, 4)
    )
    assert smaller_net[1].num_features == len(smaller_net[1].running_mean) == 4
    assert (smaller_net[2].out_channels, smaller_net[2].in_channels) == tuple(smaller_net[2].weight.shape[:2])
    assert smaller_net[4].in_features == smaller_net[4].weight.shape[1]
    assert "in_features=12" in repr(smaller_net[4])


def test_embeddings_and_attention() -> None:
    net = Net(lambda m, x: m.b(m.a(x)), a=nn.Embedding(10, 6), b=nn.Linear(6, 2))
    from prunecli.coupling import trace

    space = trace(net, (torch.tensor([[1, 2]]),))
    assert patches(space, "a") == {("embedding_dim", None): 3}


class Described(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(6))
        self.size = 6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_a_description_of_ones_own() -> None:
    net = nn.Sequential(nn.Linear(4, 6), Described(), nn.Linear(6, 2))
    assert patches(check(net, 2, 4), "1") == {}
    register_description(Described, ("size", lambda layer: layer.of("weight", dim=0)))
    try:
        assert patches(check(net, 2, 4), "1") == {("size", None): 3}
        with pytest.raises(ValueError, match="Described is already described"):
            register_description(Described)
    finally:
        del DESCRIPTIONS[Described]


def test_sizes_that_cannot_change_need_no_patch() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    space = check(net, 2, 4)
    assert {(p.module, p.attribute) for p in space.patches} == {("0", "out_features"), ("2", "in_features")}
    assert example(2, 4).shape == (2, 4)

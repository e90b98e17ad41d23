"""Rules of convolutions, matrix products and embeddings on networks with hand-worked groups."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, error, free, reason, slots

from prunecli.coupling import trace


def test_a_chain_of_linear_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8, bias=False), nn.Tanh(), nn.Linear(8, 3))
    space = check(net, 2, 4)
    assert free(space) == {"0": 6, "2": 8}
    assert slots(space.by_name["0"]) == {("0.weight", 0), ("0.bias", 0), ("2.weight", 1)}
    assert {slot.role for slot in space.by_name["0"].slots} == {"out", "bias", "in"}
    assert reason(space, "0.weight", 1) == "the network's input"
    assert reason(space, "4.weight", 0) == "the network's output"
    assert space.macs.value(space.sizes) == 2 * (4 * 6 + 6 * 8 + 8 * 3)
    assert space.macs.value({"0": 3, "2": 4}) == 2 * (4 * 3 + 3 * 4 + 4 * 3)
    assert space.params.value(space.sizes) == 4 * 6 + 6 + 6 * 8 + 8 * 3 + 3


def test_depthwise_convolution_has_as_many_groups_as_channels() -> None:
    net = Net(
        lambda m, x: m.out(m.depthwise(m.stem(x))),
        stem=nn.Conv2d(3, 8, 1), depthwise=nn.Conv2d(8, 8, 3, groups=8), out=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert free(space) == {"stem": 8}
    assert ("depthwise.weight", 0) in slots(space.by_name["stem"])
    assert space.by_name["stem"].kind == "channels"
    assert any((p.module, p.attribute) == ("depthwise", "groups") for p in space.patches)


def test_depthwise_convolution_with_a_multiplier() -> None:
    """Channel c makes outputs 3c, 3c + 1, 3c + 2; the three are groups of their own."""
    net = Net(
        lambda m, x: m.out(m.depthwise(m.stem(x))),
        stem=nn.Conv2d(3, 4, 1), depthwise=nn.Conv2d(4, 12, 3, groups=4), out=nn.Conv2d(12, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert sorted(free(space).values()) == [3, 4]
    assert ("depthwise.weight", 0) in slots(space.by_name["stem"])


def test_grouped_convolution_keeps_its_number_of_groups() -> None:
    """6 = 3 x 2 inputs, 12 = 3 x 4 outputs: every group of the three loses the same ones."""
    net = Net(
        lambda m, x: m.out(m.grouped(m.stem(x))),
        stem=nn.Conv2d(3, 6, 1), grouped=nn.Conv2d(6, 12, 3, groups=3), out=nn.Conv2d(12, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    assert sorted(free(space).values()) == [2, 4]
    held = [group for group in space.groups if group.frozen is not None]
    assert [(group.size, group.kind) for group in held] == [(3, "convolution groups")]
    assert "the number of groups of the convolution grouped" in (held[0].frozen or "")


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution(groups: int) -> None:
    net = Net(
        lambda m, x: m.out(m.up(m.stem(x))),
        stem=nn.Conv2d(3, 8, 1), up=nn.ConvTranspose2d(8, 6, 2, stride=2, groups=groups),
        out=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 3, 3)
    assert sorted(free(space).values()) == ([6, 8] if groups == 1 else [3, 4])


def test_one_dimensional_and_three_dimensional_convolution() -> None:
    one = nn.Sequential(nn.Conv1d(3, 8, 3), nn.ReLU(), nn.Conv1d(8, 2, 1))
    assert free(check(one, 2, 3, 6)) == {"0": 8}
    three = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU(), nn.Conv3d(4, 2, 1))
    assert free(check(three, 1, 3, 2, 2, 2)) == {"0": 4}


def test_embedding_pins_its_entries_only() -> None:
    net = Net(lambda m, x: m.b(m.a(x)), a=nn.Embedding(10, 6), b=nn.Linear(6, 3))
    ids = torch.tensor([[1, 2, 9]])
    space = trace(net, (ids,))
    assert free(space) == {"a": 6}
    assert "chosen by number" in reason(space, "a.weight", 0)
    assert error(net, space, ids) < 1e-9


def test_matrix_products_without_a_layer() -> None:
    for function in (
        lambda m, x: m.b(m.a(x) @ m.weight),
        lambda m, x: m.b(torch.einsum("bnc,co->bno", m.a(x), m.weight)),
        lambda m, x: m.b(torch.bmm(m.a(x), m.weight.expand(x.shape[0], -1, -1))),
    ):
        net = Net(function, a=nn.Linear(4, 6), b=nn.Linear(8, 3), weight=nn.Parameter(torch.randn(6, 8)))
        space = check(net, 2, 5, 4)
        assert sorted(free(space).values()) == [6, 8]


def test_the_batch_of_a_product_counts_heads() -> None:
    """[heads, 4, 5] x [heads, 5, 6]: how often it is done is left whole."""
    net = Net(
        lambda m, x: m.b(torch.einsum("bc,hcd->bhd", m.a(x), m.weight).flatten(1)),
        a=nn.Linear(4, 6), weight=nn.Parameter(torch.randn(3, 6, 5)), b=nn.Linear(15, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert sorted(free(space).values())[-2:] == [5, 6]


def test_positions_pass_through_a_kernel_of_one() -> None:
    """CoaT: three maps of tokens are mixed by a convolution whose positions are the features."""
    net = Net(
        lambda m, x: m.out(m.mix(torch.stack([m.a(x), m.b(x)], 1)).squeeze(1)),
        a=nn.Linear(4, 6), b=nn.Linear(4, 6), mix=nn.Conv1d(2, 1, 1), out=nn.Linear(6, 3),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert slots(space.by_name["a"]) >= {("b.weight", 0), ("out.weight", 1)}
    assert space.macs.value({"a": 5}) == 2 * (4 * 5 + 4 * 5 + 2 * 5 + 5 * 3)


@pytest.mark.parametrize("options", [{"kernel_size": 3}, {"kernel_size": 1, "stride": 2}])
def test_positions_stay_where_a_kernel_looks_at_several(options: dict[str, int]) -> None:
    net = Net(
        lambda m, x: m.out(m.mix(m.a(x)[:, None]).squeeze(1)),
        a=nn.Linear(4, 6), mix=nn.Conv1d(1, 1, **options), out=nn.Linear(3 if "stride" in options else 4, 3),
    )  # fmt: skip
    space = trace(net, (torch.randn(2, 4),))
    assert reason(space, "a.weight") == "spatial positions"


def test_a_kernel_that_slides_over_features_changes_values() -> None:
    """ECA: a gate per channel from its neighbours, a convolution over the row of channels."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.stem(x)
        gate = m.eca(h.mean((2, 3)).unsqueeze(1)).sigmoid()
        result: Tensor = m.out(h * gate.view(x.shape[0], -1, 1, 1))
        return result

    net = Net(
        forward, stem=nn.Conv2d(3, 8, 1), eca=nn.Conv1d(1, 1, 3, padding=1, bias=False),
        out=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 5, 5)
    group = space.by_name["stem"]
    assert free(space) == {"stem": 8} and group.value_changing == "a kernel slides over it"
    assert error(net, space, torch.randn(2, 3, 5, 5), keep={"stem": [0, 3, 4, 7]}) > 1e-6
    assert space.macs.value({"stem": 5}) == 2 * (25 * (3 * 5 + 5 * 2) + 3 * 5)

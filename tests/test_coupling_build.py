"""Spaces of real networks, and how groups are named; numbers worked out from their own definitions."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cache

import gqa
import pytest
import torch
import torchvision
from torch import Tensor, nn
from tracing import Net, check, example, free, half, reason, space_of, subject

from prunecli.counting import count
from prunecli.coupling import trace
from prunecli.coupling.space import Group, Space
from prunecli.networks import build
from prunecli.proofs import pruned
from prunecli.surgery import cut


@dataclass(frozen=True)
class Expected:
    """``bundles``: members per bundle -> how many; ``frozen``: kinds of frozen groups."""

    groups: int
    bundles: dict[int, int]
    frozen: dict[str, int]
    value_changing: int


NETWORKS = {
    # 4 stages x 2 blocks, one inner width each, and 4 streams.
    "resnet18": Expected(12, {1: 12}, {}, 0),
    "mobilenet_v3_small": Expected(27, {1: 27}, {}, 0),
    # Every shuffled stage ties its halves; the second half of a stage is three rounds of pairs.
    "shufflenet_v2_x0_5": Expected(34, {1: 18, 8: 2}, {}, 0),
    # 12 blocks: heads, head size (q and k), head size (v) tied to the 4 streams, and 12 hidden layers.
    "swin_t": Expected(40, {1: 12, 3: 3, 7: 1}, {"heads": 12}, 4),
    # 3 convolutions, 9 inception blocks of 6, and two auxiliary heads of 2 that exist only in train mode.
    "googlenet": Expected(61, {1: 61}, {}, 0),
    # 12 hidden layers; 12 head sizes (q and k) and 12 (v) that go with the stream; 12 head counts.
    "vit_b_16": Expected(49, {1: 12, 25: 1}, {"heads": 12}, 13),
}


@cache
def space_on_meta(name: str) -> Space:
    module, specs = build(f"torchvision:{name}", {})
    inputs = tuple(torch.empty(spec.shape, device="meta") for spec in specs)
    return trace(module.eval(), inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_structure_of_torchvision_networks(name: str) -> None:
    space, expected = space_on_meta(name), NETWORKS[name]
    assert len(space.groups) == expected.groups
    assert Counter(len(bundle.members) for bundle in space.bundles) == expected.bundles
    assert Counter(group.kind for group in space.groups if group.frozen) == expected.frozen
    assert sum(group.value_changing is not None for group in space.groups) == expected.value_changing
    assert space.unknown_operators == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_group_is_free_or_frozen_and_bundled_once(name: str) -> None:
    space = space_on_meta(name)
    bundled = Counter(member.group for bundle in space.bundles for member in bundle.members)
    assert bundled == dict.fromkeys((g.name for g in space.groups if g.frozen is None), 1)
    assert all(group.slots for group in space.groups)
    assert all(guard.holds(space.sizes) for guard in space.guards)
    sizes = {**space.sizes, **{name: len(kept) for name, kept in half(space).items()}}
    assert all(guard.holds(sizes) for guard in space.guards)
    assert space.macs.value(sizes) < 0.5 * space.macs.value(space.sizes)


def real(name: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = {"init_weights": False} if name == "googlenet" else {}
        return getattr(torchvision.models, name)(weights=None, **arguments).eval()


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "swin_t"])
def test_the_cost_polynomial_is_what_fvcore_counts(name: str) -> None:
    """Dense and cut by half, to the last multiply-add."""
    module, x = real(name), torch.zeros(1, 3, 64, 64)
    space = trace(module, (x,))
    keep = half(space)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    smaller = cut(tensors, space, keep)
    network = pruned(module, space, smaller, keep)
    sizes = {**space.sizes, **{group: len(kept) for group, kept in keep.items()}}
    assert space.macs.value(space.sizes) == count(module, (x,)).total
    assert space.macs.value(sizes) == count(network, (x,)).total
    assert space.params.value(space.sizes) == sum(p.numel() for p in module.parameters())
    assert space.params.value(sizes) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "swin_t"])
def test_half_of_a_torchvision_network_is_its_masked_self(name: str) -> None:
    module, x = real(name), example(1, 3, 64, 64)
    space = trace(module, (x,))
    case = subject(module, space, x)
    keep = half(space)
    assert case.error(case.keeps_values(keep)) < 1e-9
    assert [t.shape for t in case.output(keep)] == [(1, 1000)]


def test_plans_of_a_transformer_fit_its_numbers() -> None:
    """vit_b_16 at half of everything: hidden = 12 heads x head size, and every attribute says so."""
    space = space_on_meta("vit_b_16")
    sizes = {**space.sizes, **{name: len(kept) for name, kept in half(space).items()}}
    values = {(p.module, p.attribute): p.value.value(sizes) for p in space.patches}
    hidden = values["", "hidden_dim"]
    assert 0 < hidden < 768 and hidden % 12 == 0
    for layer in range(12):
        path = f"encoder.layers.encoder_layer_{layer}.self_attention"
        assert values[path, "embed_dim"] == hidden
    assert values["conv_proj", "out_channels"] == hidden


def test_a_group_is_called_after_the_layer_that_makes_it() -> None:
    net = Net(
        lambda m, x: m.out(m.norm(m.b(m.a(x)) + m.table)),
        a=nn.Linear(4, 6), b=nn.Linear(6, 8), norm=nn.BatchNorm1d(8), table=nn.Parameter(torch.randn(8)),
        out=nn.Linear(8, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert list(free(space)) == ["a", "b"]
    assert [(s.parameter, s.role) for s in space.by_name["b"].slots] == [
        ("b.weight", "out"), ("b.bias", "bias"), ("table", "other"), ("norm.weight", "norm"),
        ("norm.bias", "norm"), ("out.weight", "in"),
    ]  # fmt: skip


def test_two_groups_of_one_layer_have_two_names() -> None:
    net = Net(
        lambda m, x: m.c(m.a(x)[:, : m.first]) + m.d(m.a(x)[:, m.first :]),
        a=nn.Linear(4, 10), c=nn.Linear(4, 2), d=nn.Linear(6, 2), first=4,
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 4, "a#2": 6}


def test_an_axis_multiplied_with_itself_stays() -> None:
    """The outer product of features with themselves (bilinear pooling) squares the axis."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b((h[:, :, None] * h[:, None, :]).flatten(1))

    space = space_of(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(36, 2)), 2, 4)
    assert "multiplied with itself" in reason(space, "a.weight")


def test_spaces_know_their_costs_without_a_second_trace() -> None:
    """The polynomial of resnet18 at half of everything is a trace of the network built at those widths."""
    module, x = real("resnet18"), example(1, 3, 64, 64)
    space = trace(module, (x,))
    keep = half(space)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    again = trace(pruned(module, space, cut(tensors, space, keep), keep), (x,))
    smaller = space.resized({name: len(kept) for name, kept in keep.items()})
    assert again.sizes == smaller.sizes
    assert again.macs == space.macs
    assert again.macs.value(again.sizes) == smaller.macs.value(smaller.sizes)


def test_the_cost_of_what_is_not_a_product_has_its_own_formula() -> None:
    """Norms by 2 per element (BatchNorm) and 5 (LayerNorm), pooling by 1: worked out for other widths too."""
    net = Net(
        lambda m, x: m.head(m.ln(m.mix(m.pool(m.norm(m.stem(x))).flatten(1)))),
        stem=nn.Conv2d(3, 6, 1, bias=False), norm=nn.BatchNorm2d(6), pool=nn.AdaptiveAvgPool2d(1),
        mix=nn.Linear(6, 8), ln=nn.LayerNorm(8), head=nn.Linear(8, 2),
    )  # fmt: skip
    space = check(net, 1, 3, 4, 4)
    for a, b in ((6, 8), (3, 8), (2, 5)):
        others = 2 * a * 16 + a * 16 + 5 * b
        products = 3 * a * 16 + a * b + 2 * b
        assert space.other_macs.value({"stem": a, "mix": b}) == others
        assert space.macs.value({"stem": a, "mix": b}) == products + others
    counted = count(net, (example(1, 3, 4, 4),))
    assert counted.total == space.macs.value(space.sizes)


def test_a_group_that_is_held_is_a_constant_for_those_tied_to_it() -> None:
    def is_head(group: Group) -> bool:
        return group.kind == "heads"

    inputs = (torch.zeros(2, 5, 6),)
    (ladder,) = (b for b in trace(gqa.TiedHeads(4, 6).eval(), inputs, free=is_head).bundles if b.rungs)
    assert {member.group for member in ladder.members} == {"stem", "qkv:heads", "qkv"}
    space = trace(gqa.TiedHeads(4, 6).eval(), inputs, free=is_head, held={"qkv": "as asked"})
    assert space.by_name["qkv"].frozen == "as asked"
    assert [{m.group: m.stride for m in b.members} for b in space.bundles] == [{"stem": 6, "qkv:heads": 1}]

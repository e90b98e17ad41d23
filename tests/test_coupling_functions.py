"""Numbers written in forward: what they are paired with, and what pins for want of provenance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, example, free, group_of, patches, reason, space_of, strides

from prunecli.coupling import trace
from prunecli.coupling.functions import HANDLERS, register_adapter


def pair(function: Callable[..., Tensor], size: int, out: int, **members: object) -> Net:
    return Net(lambda m, x: m.b(function(m, m.a(x))), a=nn.Linear(4, size), b=nn.Linear(out, 3), **members)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, h: h.view(h.shape[0], m.outer, -1).flatten(1),
        lambda m, h: h.reshape(-1, m.outer, h.size(1) // m.outer).flatten(1),
        lambda m, h: torch.reshape(h, (h.size(0), m.outer, -1)).flatten(1),
        lambda m, h: h.unflatten(1, (m.outer, -1)).flatten(1),
        lambda m, h: h.view(h.size()[0], m.outer, -1).flatten(1),
    ],
)
def test_an_attribute_that_names_an_axis_is_patched(function: Callable[..., Tensor]) -> None:
    net = pair(function, 12, 12, outer=3)
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [3, 4]
    assert patches(space, "") == {("outer", None): 2} or patches(space, "") == {("outer", None): 1}


@pytest.mark.parametrize(
    "function",
    [
        lambda m, h: h.view(2, 3, -1).flatten(1),
        lambda m, h: h.unflatten(1, (3, -1)).flatten(1),
        lambda m, h: h.reshape(2, 3, 4).flatten(1),
    ],
)
def test_a_plain_number_pins_the_axis_it_names(function: Callable[..., Tensor]) -> None:
    space = space_of(pair(function, 12, 12), 2, 4)
    assert 3 not in free(space).values()


def test_an_element_of_a_tuple_is_patched_alone() -> None:
    net = pair(lambda m, h: h.view(-1, *m.shape).flatten(1), 12, 12, shape=(3, 4))
    space = check(net, 2, 4)
    assert set(patches(space, "")) == {("shape", 0), ("shape", 1)}


@pytest.mark.parametrize(
    "function",
    [
        lambda m, h: h[:, : m.first],
        lambda m, h: h.narrow(1, 0, m.first),
        lambda m, h: h.split([m.first, h.shape[1] - m.first], 1)[0],
        lambda m, h: torch.split(h, [m.first, h.shape[1] - m.first], dim=1)[0],
        lambda m, h: h[..., : -m.rest] if m.rest else h,
    ],
)
def test_slices_by_attributes(function: Callable[..., Tensor]) -> None:
    space = check(pair(function, 10, 4, first=4, rest=6), 2, 4)
    assert group_of(space, "b.weight", 1).size == 4


def test_slices_by_plain_numbers_pin() -> None:
    space = space_of(pair(lambda m, h: h[:, :4], 10, 4), 2, 4)
    assert "plain number" in reason(space, "b.weight", 1)


def test_a_number_of_chunks_keeps_its_value() -> None:
    net = Net(
        lambda m, x: m.c(torch.cat([*m.a(x).chunk(m.count, 1)], -1)),
        a=nn.Linear(4, 12), c=nn.Linear(12, 2), count=3,
    )  # fmt: skip
    space = check(net, 2, 4)
    assert strides(space) == [dict.fromkeys(free(space), 1)]
    assert not patches(space, "")


def test_groups_of_a_depthwise_convolution_by_attribute_and_by_number() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.out(F.conv2d(m.stem(x), m.weight, groups=m.channels if m.by_name else 6))

    for by_name in (True, False):
        net = Net(
            forward, stem=nn.Conv2d(3, 6, 1), weight=nn.Parameter(torch.randn(6, 1, 3, 3)),
            out=nn.Conv2d(6, 2, 1), channels=6, by_name=by_name,
        )  # fmt: skip
        space = space_of(net, 2, 3, 5, 5)
        assert (free(space) == {"stem": 6}) is by_name
    assert "plain number 6" in reason(space, "stem.weight")


class Attention(nn.Module):
    """Hand-written attention whose scale is made of the size of a head."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.num_heads, self.form = 3, form
        self.qkv, self.out = nn.Linear(6, 36), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        scale = q.shape[-1] ** -0.5 if self.form == "scaled" else 0.5
        weights = (q @ k.transpose(-2, -1) * scale).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, -1))


@pytest.mark.parametrize("form", ["scaled", "plain"])
def test_hand_written_attention(form: str) -> None:
    space = check(Attention(form).eval(), 2, 5, 6)
    held = [group for group in space.groups if group.frozen]
    assert [(group.size, group.kind) for group in held] == [(3, "heads")]
    assert list(free(space).values()) == [4]
    (group,) = (group for group in space.groups if group.frozen is None)
    if form == "scaled":
        assert "scales values" in (group.value_changing or "")
    else:
        assert group.value_changing is None


def test_unknown_uses_of_a_number_keep_its_value() -> None:
    """A size that becomes data cannot be followed."""
    net = Net(
        lambda m, x: m.b(m.a(x) * torch.full((1,), m.a(x).shape[1] / 3)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)
    )
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "in a division" in (space.by_name["a"].frozen or "")


def test_handlers_are_registered_once() -> None:
    with pytest.raises(ValueError, match="already has a handler"):
        register_adapter(torch.chunk)(HANDLERS[torch.chunk])


def test_convolution_over_traced_kernel_attributes_is_untouched() -> None:
    """Strides, paddings and kernels are attributes too, and are never patched."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.MaxPool2d(2), nn.Conv2d(6, 2, 1))
    space = trace(net, (example(2, 3, 8, 8),))
    assert {(p.module, p.attribute) for p in space.patches} == {("0", "out_channels"), ("2", "in_channels")}


def test_the_number_of_elements_keeps_where_it_comes_from() -> None:
    """``x.numel() // x.shape[0]`` is the width of a flattened tensor, whatever its channels."""
    for count in (lambda h: h.numel(), torch.numel):
        net = Net(
            lambda m, x, count=count: m.b(m.a(x).view(x.shape[0], count(m.a(x)) // x.shape[0])),
            a=nn.Conv2d(3, 6, 1), b=nn.Linear(24, 2),
        )  # fmt: skip
        assert free(check(net, 2, 3, 2, 2)) == {"a": 6}


def test_a_scale_by_an_attribute_that_names_an_axis_changes_values() -> None:
    net = Net(lambda m, x: m.b(m.a(x).view(-1, m.w) * m.w**-0.5), a=nn.Linear(4, 6), b=nn.Linear(6, 3), w=6)
    space = trace(net, (example(2, 4),))
    assert free(space) == {"a": 6}
    assert "scales values" in (space.by_name["a"].value_changing or "")
    assert patches(space, "") == {("w", None): 3}
    loose = Net(lambda m, x: m.b(m.a(x) * m.w**-0.5), a=nn.Linear(4, 6), b=nn.Linear(6, 3), w=6)
    assert check(loose, 2, 4).by_name["a"].value_changing is None


def test_a_number_to_the_power_of_a_tensor() -> None:
    """A position code: the base keeps its value, everything else goes on."""
    net = Net(
        lambda m, x: m.b(m.a(x) * (m.base ** (torch.arange(2.0) / 2)).sum()),
        a=nn.Linear(4, 6), b=nn.Linear(6, 2), base=10,
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}

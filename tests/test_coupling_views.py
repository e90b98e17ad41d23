"""Sizes and views in forward: what numbers are paired with, and what pins for want of provenance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, example, free, patches, reason, space_of

from prunecli.coupling import trace


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


def test_an_index_repeated_along_the_features_is_as_long_as_they_are() -> None:
    """A gate of one number per sample, spread over the features by their number."""
    net = Net(
        lambda m, x: m.b(m.a(x) * torch.full((1,), 2.0, dtype=x.dtype).expand(m.a(x).shape)),
        a=nn.Linear(4, 6), b=nn.Linear(6, 3),
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}


@pytest.mark.parametrize("spread", [torch.Tensor.broadcast_to, torch.broadcast_to, torch.Tensor.expand])
def test_a_plain_number_of_repeats_stays(spread: Callable[..., Tensor]) -> None:
    net = Net(
        lambda m, x: m.b(spread(m.a(x)[:, :, None], (2, 6, 5)).flatten(1)),
        a=nn.Linear(4, 6), b=nn.Linear(30, 3),
    )  # fmt: skip
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "plain number 6" in reason(space, "a.weight")


def test_a_size_that_is_kept_may_be_said() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x)[:, None].expand(m.a(x).shape[0], 5, m.a(x).shape[1]).flatten(1)),
        a=nn.Linear(4, 6), b=nn.Linear(30, 3),
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}

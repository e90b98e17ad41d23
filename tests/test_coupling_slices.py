"""Slices: their bounds are paired with the pieces, and what is put into one is what it holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, free, group_of, patches, reason, space_of, strides


def pair(function: Callable[..., Tensor], size: int, out: int, **members: object) -> Net:
    return Net(lambda m, x: m.b(function(m, m.a(x))), a=nn.Linear(4, size), b=nn.Linear(out, 3), **members)


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


def shifted(m: Net, x: Tensor) -> Tensor:
    """Each step sees the one before."""
    h = m.a(x)
    out = torch.zeros_like(h)
    out[:, 1:] = h[:, :-1]
    return m.b(out)


def halves(m: Net, x: Tensor) -> Tensor:
    """The first channels from one layer, the others from another."""
    out = m.b(x).clone()
    out[..., : m.first] = m.a(x)
    return m.out(out)


def test_what_is_put_into_a_slice() -> None:
    assert free(check(Net(shifted, a=nn.Linear(4, 6), b=nn.Linear(6, 3)), 2, 5, 4)) == {"a": 6}
    net = Net(halves, a=nn.Linear(4, 4), b=nn.Linear(4, 10), out=nn.Linear(10, 3), first=4)
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [4, 6]
    assert patches(space, "") == {("first", None): 2}


def test_a_number_and_one_index_put_into_a_slice() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x).clone()
        h[:, 0] = 0.0
        h[:, 1] = m.c(x)[:, 0]
        h[1:2, None, 2] = m.c(x)[None, None, 1:, 1]
        return m.b(h)

    net = Net(forward, a=nn.Linear(4, 6), c=nn.Linear(4, 6), b=nn.Linear(6, 3))
    space = check(net, 2, 5, 4)
    assert free(space) == {"a": 6}


def test_what_a_mask_chooses_is_put_by_number() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x).clone()
        h[x[..., 0] > 0] = m.token
        return m.b(h)

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), token=nn.Parameter(torch.rand(6)))
    space = check(net, 2, 5, 4)
    assert free(space) == {"a": 6}
    assert ("token", 0) in {(slot.parameter, slot.dim) for slot in space.by_name["a"].slots}

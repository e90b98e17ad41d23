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


def scales(m: Net, x: Tensor) -> Tensor:
    """One convolution for all pieces but the last, as networks with several receptive fields do."""
    *pieces, last = m.a(x).chunk(m.count, 1)
    return m.out(torch.cat([*(m.conv(piece) for piece in pieces), last], 1))


@pytest.mark.parametrize(("size", "count", "width", "last"), [(11, 3, 4, 3), (10, 3, 4, 2), (25, 9, 3, 1)])
def test_a_shorter_last_chunk_stays_shorter_by_as_much(size: int, count: int, width: int, last: int) -> None:
    net = Net(
        scales, a=nn.Conv2d(3, size, 1), conv=nn.Conv2d(width, width, 3, padding=1, groups=width),
        out=nn.Conv2d(size, 2, 1), count=count,
    )  # fmt: skip
    if last == 1:  # a single index stays, and all others with it
        assert not free(space_of(net, 2, 3, 4, 4))
        return
    space = check(net, 2, 3, 4, 4)
    assert sorted(free(space).values()) == [last, width]
    assert [set(bundle.values()) for bundle in strides(space)] == [{1}]


def test_chunks_of_every_smaller_axis_are_where_the_sizes_say() -> None:
    """Why that is sound: torch cuts an axis with ``gone`` indices less of each piece into those pieces."""
    for size in range(1, 60):
        for count in range(1, 14):
            pieces = [len(piece) for piece in torch.zeros(size).chunk(count)]
            for gone in range(pieces[-1]):
                wanted = [piece - gone for piece in pieces]
                found = [len(piece) for piece in torch.zeros(sum(wanted)).chunk(count)]
                assert found == wanted, (size, count, gone)

"""Constants made in forward as long as an axis is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, check_on, example, free, patches, reason, space_of

MAKERS = {
    "zeros": lambda h, n: torch.zeros(h.shape[0], 1, n, dtype=h.dtype),
    "ones of a tuple": lambda h, n: torch.ones((h.shape[0], 1, n), dtype=h.dtype),
    "by name": lambda h, n: torch.ones(size=(2, 1, n), dtype=h.dtype),
    "full": lambda h, n: torch.full((2, 1, n), 0.5, dtype=h.dtype),
    "new_zeros": lambda h, n: h.new_zeros(h.shape[0], 1, n),
    "new_ones": lambda h, n: h.new_ones((h.shape[0], 1, n)),
    "new_full": lambda h, n: h.new_full((2, 1, n), 2.0),
    "zeros_like": lambda h, n: torch.zeros_like(h[:, :1]),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("by_attribute", [False, True])
def test_a_constant_as_long_as_an_axis(name: str, by_attribute: bool) -> None:
    """One more step for a sequence, of as many features as it has."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b(torch.cat([h, MAKERS[name](h, m.width if by_attribute else h.shape[-1])], 1))

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), width=6)
    space = check(net, 2, 5, 4)
    assert free(space) == {"a": 6}
    used = by_attribute and name != "zeros_like"
    assert patches(space, "") == ({("width", None): 3} if used else {})


def test_a_plain_number_pins() -> None:
    net = Net(
        lambda m, x: m.b(torch.cat([m.a(x), m.a(x).new_zeros(2, 1, 6)], 1)),
        a=nn.Linear(4, 6), b=nn.Linear(6, 3),
    )  # fmt: skip
    space = space_of(net, 2, 5, 4)
    assert not free(space)
    assert reason(space, "a.weight") == "it meets a constant tensor of the network"


def test_values_of_such_a_constant_may_be_read() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        table = torch.zeros(m.entries)
        table[1] = 3.0
        assert table.sum().item() == 3.0
        return m.b(m.a(x) + torch.ones(m.width, dtype=x.dtype))

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 3), width=6, entries=5)
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert patches(space, "") == {("width", None): 3}


@pytest.mark.parametrize(
    "order", [lambda n: torch.arange(n), lambda n: torch.linspace(0, 1, n), lambda n: torch.eye(n)[0]]
)
def test_constants_that_tell_indices_apart_pin(order: Callable[[int], Tensor]) -> None:
    net = Net(lambda m, x: m.b(m.a(x) + order(m.a(x).shape[-1])), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert not free(space_of(net, 2, 4))


def test_a_value_that_is_a_size_must_stay() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x) * torch.full((m.width,), m.a(x).shape[1])),
        a=nn.Linear(4, 6), b=nn.Linear(6, 3), width=6,
    )  # fmt: skip
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "as the value of a constant" in (space.by_name["a"].frozen or "")


def filled(m: Net, x: Tensor) -> Tensor:
    """Slots made first, filled layer by layer."""
    h = m.a(x)
    out = torch.zeros(x.shape[0], 2, m.width, dtype=x.dtype)
    out[:, 0] = h
    out[:, 1] = m.c(h)
    return m.b(out)


def test_a_constant_that_is_filled() -> None:
    net = Net(filled, a=nn.Linear(4, 6), c=nn.Linear(6, 6), b=nn.Linear(6, 3), width=6)
    space = check_on(net, example(2, 4))
    assert free(space) == {"a": 6}
    assert patches(space, "") == {("width", None): 3}

"""Expressions turned around, and attributes that forward names only inside of one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, free, patches, space_of

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.expressions import attributes_in, inverted, nodes_in
from prunecli.coupling.integers import Attribute, Expression, Literal, Operation, SizeOf
from prunecli.coupling.nodes import fresh

WIDTH = Attribute("m", "width", None, 12)
SIZE = Polynomial.variable("g")


def constant(expression: Expression) -> Polynomial | None:
    return Polynomial.constant(expression.value) if isinstance(expression, Literal) else None


@pytest.mark.parametrize(
    ("op", "left", "right", "expected"),
    [
        ("+", WIDTH, Literal(4), {("g",): 1, (): -4}),
        ("+", Literal(4), WIDTH, {("g",): 1, (): -4}),
        ("-", WIDTH, Literal(4), {("g",): 1, (): 4}),
        ("-", Literal(20), WIDTH, {("g",): -1, (): 20}),
        ("//", WIDTH, Literal(3), {("g",): 3}),
        ("//", Literal(36), WIDTH, None),
        ("*", WIDTH, Literal(2), None),
        ("%", WIDTH, Literal(2), None),
    ],
)
def test_one_operation(op: str, left: Expression, right: Expression, expected: object) -> None:
    found = inverted(Operation(op, left, right, 0), WIDTH, SIZE, constant)
    assert (None if found is None else dict(found.terms)) == expected


def test_nested_operations() -> None:
    """g = (2 * width + 6) // 3 makes width = (3 g - 6) / 2."""
    doubled = Operation("*", Literal(2), WIDTH, 24)
    expression = Operation("//", Operation("+", doubled, Literal(6), 30), Literal(3), 10)
    found = inverted(expression, WIDTH, SIZE * Polynomial.constant(2), constant)
    assert found is not None
    assert dict(found.terms) == {("g",): 3, (): -3}


def test_what_stands_in_an_expression() -> None:
    node = fresh(5)
    expression = Operation("*", SizeOf(node), Operation("+", WIDTH, Literal(1), 13), 65)
    assert nodes_in(expression) == [node]
    assert attributes_in(expression) == [WIDTH]


def test_a_width_that_is_named_only_by_its_half_follows() -> None:
    """Both halves keep one size, and the attribute is twice that."""
    torch.manual_seed(0)
    net = Net(
        lambda m, x: (lambda p: m.b(p[0]) + m.c(p[1]))(m.a(x).split(m.width // 2, 1)),
        a=nn.Conv2d(3, 12, 1), b=nn.Conv2d(6, 2, 1), c=nn.Conv2d(6, 2, 1), width=12,
    )  # fmt: skip
    space = check(net, 2, 3, 4, 4)
    assert sorted(free(space).values()) == [6, 6]
    assert patches(space, "") == {("width", None): 6}


def test_of_two_attributes_in_one_size_the_width_follows() -> None:
    """Neither is known from elsewhere: the number of parts stays what it is."""
    torch.manual_seed(0)
    net = Net(
        lambda m, x: (lambda p: m.b(p[0]) + m.c(p[1]))(m.a(x).split(m.width // m.paths, 1)),
        a=nn.Conv2d(3, 12, 1), b=nn.Conv2d(6, 2, 1), c=nn.Conv2d(6, 2, 1), width=12, paths=2,
    )  # fmt: skip
    space = check(net, 2, 3, 4, 4)
    assert sorted(free(space).values()) == [6, 6]
    assert patches(space, "") == {("width", None): 6}


def test_of_two_attributes_that_are_multiplied_the_one_that_can_follows() -> None:
    """Twelve is no multiple of the five that stay, so the five are not what follows."""
    net = Net(
        lambda m, x: m.c(m.b(torch.cat([m.a(x)] * 3, 1).view(-1, m.times * m.dim))),
        a=nn.Linear(4, 4), b=nn.Linear(12, 6), c=nn.Linear(6, 2), dim=4, times=3,
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 4, "b": 6}
    assert patches(space, "") == {("dim", None): 2}


def test_a_number_that_another_axis_keeps_is_named() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        fixed = m.a(x).view(-1, m.dim) + torch.arange(6.0)
        return m.c(fixed * 2) + m.d(m.b(x).view(-1, m.dim))

    net = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(4, 6), c=nn.Linear(6, 2), d=nn.Linear(6, 2), dim=6)
    (group,) = space_of(net, 2, 4).groups
    assert group.frozen == "its size is tied to dim in the network's forward"


def test_a_width_that_forward_multiplies_follows() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x).view(-1, 3 * m.dim)),
        a=nn.Linear(4, 12), b=nn.Linear(12, 2), dim=4,
    )  # fmt: skip
    assert not free(space_of(net, 2, 4))  # 12 = 3 x 4, but twelve features have no thirds to lose
    net = Net(
        lambda m, x: m.c(m.b(torch.cat([m.a(x)] * 3, 1).view(-1, 3 * m.dim))),
        a=nn.Linear(4, 4), b=nn.Linear(12, 6), c=nn.Linear(6, 2), dim=4,
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 4, "b": 6}
    assert patches(space, "") == {("dim", None): 2}


def test_a_width_behind_chunks_of_equal_size_follows() -> None:
    """``view(heads, 3 * dim)`` and three chunks: the chunks are equal, so dim is one of them."""

    def forward(m: Net, x: Tensor) -> Tensor:
        q, k, v = m.a(x).view(-1, 2, m.dim * 3).chunk(3, dim=2)
        return m.b((q * k + v).flatten(1))

    net = Net(forward, a=nn.Linear(4, 24), b=nn.Linear(8, 2), dim=4)
    space = check(net, 2, 4)
    assert patches(space, "") == {("dim", None): 2}

"""Numbers become bundles, guards and patches: by hand, and on networks that need them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, example, free, half, patches, space_of, strides

from prunecli.coupling.constraints import Solution, nodes_in, solve
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.integers import IntegerLog
from prunecli.coupling.nodes import Node, fixed, fresh, leaves, product
from prunecli.coupling.space import Guard, Member, Patch
from prunecli.proofs import FORWARD_ERRORS, Subject


class Case:
    """Axes ``a``, ``b``, ... of given sizes, and a log to write in."""

    def __init__(self, **sizes: int) -> None:
        self.sizes = sizes
        self.nodes: dict[str, Node] = {name: fresh(size) for name, size in sizes.items()}
        self.log = IntegerLog(lambda: "layer")

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def polynomial(self, node: Node) -> Polynomial:
        total = Polynomial.constant(1)
        for atom in leaves(node):
            name = next((n for n, own in self.nodes.items() if own is atom), None)
            total = total * (Polynomial.constant(atom.size) if name is None else Polynomial.variable(name))
        return total

    def solve(self, **frozen: str) -> Solution:
        return solve(self.log, self.sizes, self.polynomial, frozen)


def bundles(solution: Solution) -> list[dict[str, int]]:
    return [{member.group: member.stride for member in bundle.members} for bundle in solution.bundles]


def test_without_numbers_every_group_is_its_own_bundle() -> None:
    solution = Case(a=4, b=6).solve()
    assert bundles(solution) == [{"a": 1}, {"b": 1}]
    assert not solution.guards and not solution.patches and not solution.frozen


def test_an_attribute_is_patched() -> None:
    case = Case(a=4)
    case.log.demand(case.log.attribute("m", "width", None, 4), case["a"])
    assert case.solve().patches == (Patch("m", "width", None, Polynomial.variable("a")),)


def test_one_attribute_for_two_axes_makes_them_equally_large() -> None:
    case = Case(a=4, b=4)
    width = case.log.attribute("m", "width", None, 4)
    case.log.demand(width, case["a"])
    case.log.demand(width, case["b"])
    assert bundles(case.solve()) == [{"a": 1, "b": 1}]


def test_an_expression_is_a_constraint() -> None:
    """C // heads == head size, with 3 heads that stay: three channels go with one feature of a head."""
    case = Case(channels=12, head=4)
    number = case.log.size(case["channels"]) // case.log.attribute("m", "heads", None, 3)
    case.log.demand(number, case["head"])
    assert bundles(case.solve()) == [{"channels": 3, "head": 1}]


def test_two_fixed_proportions_that_disagree_freeze() -> None:
    case = Case(a=4, b=4)
    case.log.same_size(case["a"], case["b"])
    case.log.demand(case.log.size(case["a"]) * 2, product([case["b"], fixed(2, "x")]))
    assert bundles(case.solve()) == [{"a": 1, "b": 1}]
    case.log.demand(case.log.size(case["a"]) - 2, fixed(2, "x"))
    solution = case.solve()
    assert set(solution.frozen) == {"a", "b"}
    assert solution.bundles == ()


def test_what_is_fixed_is_frozen_and_its_attribute_stays() -> None:
    case = Case(a=4, b=6)
    case.log.fix(case.log.size(case["a"]), "in a division")
    solution = case.solve()
    assert solution.frozen == {"a": "its size is used in a division in layer"}
    assert bundles(solution) == [{"b": 1}]


def test_freezing_spreads_along_a_bundle() -> None:
    """b is frozen, a must be as large as b: a is frozen as well."""
    case = Case(a=4, b=4, c=5)
    case.log.same_size(case["a"], case["b"])
    solution = case.solve(b="asked to")
    assert solution.frozen["b"] == "asked to"
    assert "a" in solution.frozen
    assert bundles(solution) == [{"c": 1}]


@pytest.mark.parametrize(
    ("ask", "op"),
    [(lambda n: n > 2, ">"), (lambda n: n < 3, ">="), (lambda n: n != 5, "!="), (lambda n: n <= 4, "<=")],
)
def test_a_comparison_is_a_guard(ask: Callable[[int], bool], op: str) -> None:
    case = Case(a=4)
    ask(case.log.size(case["a"]))
    (guard,) = case.solve().guards
    assert (guard.left, guard.op) == (Polynomial.variable("a"), op)


def test_an_equality_that_held_must_hold() -> None:
    case = Case(a=4, b=4)
    assert case.log.size(case["a"]) == case.log.size(case["b"])
    assert bundles(case.solve()) == [{"a": 1, "b": 1}]
    other = Case(a=4, b=5)
    assert other.log.size(other["a"]) != other.log.size(other["b"])
    assert other.solve().guards == (Guard(Polynomial.variable("a"), "!=", Polynomial.variable("b"), "layer"),)


def test_divisibility_is_a_stride() -> None:
    case = Case(a=12)
    assert case.log.size(case["a"]) % 4 == 0
    assert case.solve().bundles[0].members == (Member("a", 4),)


def test_strides_of_a_bundle_are_the_least_common_ones() -> None:
    """a == b, a % 2 == 0, b % 3 == 0: six of both at a time."""
    case = Case(a=12, b=12)
    case.log.same_size(case["a"], case["b"])
    assert case.log.size(case["a"]) % 2 == 0
    assert case.log.size(case["b"]) % 3 == 0
    assert bundles(case.solve()) == [{"a": 6, "b": 6}]


def test_nodes_in_an_expression() -> None:
    case = Case(a=12, b=3)
    number = (case.log.size(case["a"]) // case.log.size(case["b"])) * 2 + 1
    assert nodes_in(number.expression) == [case["a"], case["b"]]


def holds(space_half: dict[str, list[int]], case: Subject) -> bool:
    try:
        case.output(space_half)
    except FORWARD_ERRORS:
        return False
    return True


def test_channels_are_heads_times_head_size() -> None:
    """The usual transformer: reshape(B, N, heads, C // heads) with C the width of the stream."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.num_heads, self.stem = 3, nn.Linear(4, 12)
            self.q, self.out = nn.Linear(12, 12), nn.Linear(12, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            batch, tokens, channels = x.shape
            q = self.q(x).reshape(batch, tokens, self.num_heads, channels // self.num_heads).transpose(1, 2)
            return self.out((q @ q.transpose(-2, -1) @ q).transpose(1, 2).reshape(batch, tokens, channels))

    space = check(Block().eval(), 2, 5, 4)
    assert strides(space) == [{"stem": 3, "q": 1}]
    assert free(space) == {"stem": 12, "q": 4}


def test_an_assertion_in_forward_is_kept() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        assert h.shape[1] % m.multiple == 0, "not a multiple"
        assert h.shape[1] > 3
        return m.b(h)

    net = Net(forward, a=nn.Linear(4, 12), b=nn.Linear(12, 3), multiple=4)
    space = check(net, 2, 4)
    assert strides(space) == [{"a": 4}]
    assert [guard.op for guard in space.guards] == [">"]
    assert not space.guards[0].holds({"a": 3})


def test_an_attribute_compared_with_a_size_follows_it() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        if h.shape[-1] != m.hidden_dim:
            raise RuntimeError(f"Expected hidden dim {m.hidden_dim}")
        return m.b(h.reshape(-1, m.hidden_dim))

    net = Net(forward, a=nn.Linear(4, 12), b=nn.Linear(12, 3), hidden_dim=12)
    space = check(net, 2, 4)
    assert free(space) == {"a": 12}
    assert patches(space, "") == {("hidden_dim", None): 6}


def test_without_its_patches_a_network_would_not_run() -> None:
    net = Net(lambda m, x: m.b(m.a(x).view(2, m.width)), a=nn.Linear(4, 12), b=nn.Linear(12, 3), width=12)
    space = space_of(net, 2, 4)
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    case = Subject(net, tensors, space, (example(2, 4),), torch.float64)
    assert holds(half(space), case)
    from dataclasses import replace

    blind = replace(space, patches=())
    assert not holds(half(space), Subject(net, tensors, blind, (example(2, 4),), torch.float64))

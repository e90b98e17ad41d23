"""The axis algebra: hand-worked refinements, explicit index masks, random programs and the masked oracle."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import Trial, countable, flops, outputs, random_keep, random_program
from torch import Tensor
from tracing import shape_of

from prunecli.coupling import trace
from prunecli.coupling.algebra import Algebra
from prunecli.coupling.axes import Axis, Concat, Product, groups_in, kept_indices
from prunecli.coupling.nodes import (
    ONE,
    Atom,
    Cat,
    Node,
    concat,
    fixed,
    fresh,
    is_pinned,
    leaves,
    normal,
    product,
)
from prunecli.proofs import masked, pruned, relative_error
from prunecli.surgery import cut

PROGRAMS, CHUNKS = 2000, 8
TOLERANCE = 1e-9


def free(node: Node) -> list[int]:
    """Sizes of the unpinned atoms of ``node``, with repeats."""
    return [atom.size for atom in leaves(node) if atom.pinned is None]


def test_an_atom_met_by_a_product_is_that_product() -> None:
    a, b, c = fresh(6), fresh(2), fresh(3)
    Algebra().unify(a, product([b, c]))
    assert list(leaves(a)) == [b, c]


def test_pinning_travels_through_what_is_the_same() -> None:
    algebra, a, b = Algebra(), fresh(6), fresh(6)
    algebra.unify(a, b)
    algebra.pin(a, "first")
    algebra.pin(b, "second")
    assert normal(b).pinned == "first"  # type: ignore[union-attr]
    assert shape_of(concat([a, b])) == "#12"


def test_marks_follow_the_indices_into_the_pieces() -> None:
    algebra, a = Algebra(), fresh(12)
    algebra.mark(a, "value-changing", "a mean runs over it")
    outer, inner = algebra.factor(a, 3) or (ONE, ONE)
    algebra.mark(outer, "value-changing", "later")
    assert isinstance(outer, Atom) and isinstance(inner, Atom)
    assert outer.marks == {"value-changing": "a mean runs over it"}
    assert inner.marks == {"value-changing": "a mean runs over it"}


def test_axes_of_different_sizes_are_both_pinned() -> None:
    a, b = fresh(6), fresh(4)
    Algebra().unify(a, b)
    assert is_pinned(a) and is_pinned(b)


def test_two_concatenations_are_cut_at_every_border_of_either() -> None:
    """[4 + 6] and [7 + 3]: pieces of 4, 3 and 3."""
    left, right = concat([fresh(4), fresh(6)]), concat([fresh(7), fresh(3)])
    Algebra().unify(left, right)
    assert free(left) == free(right) == [4, 3, 3]
    assert list(leaves(left)) == list(leaves(right))


def test_a_concatenation_of_multiples_is_distributed_on_the_right() -> None:
    """[x*c + y*c] = [x + y]*c: 8 and 12 indices seen as rows of 4."""
    whole = concat([fresh(8), fresh(12)])
    pair = Algebra().factor(whole, 5)
    assert pair is not None
    assert shape_of(pair[0]) == "(a2+b3)"
    assert shape_of(pair[1]) == "a4"
    assert shape_of(whole) == "((a2*b4)+(c3*b4))"


def test_a_concatenation_that_does_not_fit_is_read_as_equal_pieces() -> None:
    """5 + 7 indices seen as 2 rows of 6: both rows lose the same indices, cut where either has a border."""
    whole = concat([fresh(5), fresh(7)])
    pair = Algebra().factor(whole, 2)
    assert pair is not None
    assert is_pinned(pair[0]) and pair[0].size == 2
    assert pair[1].size == 6
    # Row one is [0..4 | 5], row two is [6..11]: pieces of 5 and 1, and a piece of 1 may never go.
    assert free(pair[1]) == [5]
    assert free(whole) == [5, 5]


def test_a_split_inside_one_unit_isolates_that_unit() -> None:
    """ShuffleNet: 29 pairs cut after 29 indices: 14 whole pairs, one pair cut in two, 14 whole pairs."""
    algebra, outer, inner = Algebra(), fresh(29), fixed(2, "two halves")
    whole = product([outer, inner])
    left, right = algebra.split(whole, 29)
    assert left.size == right.size == 29
    assert free(outer) == [14, 14]
    assert shape_of(outer) == "(a14+#1+b14)"
    assert shape_of(left) == "((a14*#2)+#1)"
    assert shape_of(right) == "(#1+(a14*#2))"


def test_a_split_inside_a_unit_also_cuts_the_inner_axis() -> None:
    """4 rows of 5 cut after 7: rows 0, 1 | 2 3, and the inner axis after 2."""
    algebra, outer, inner = Algebra(), fresh(4), fresh(5)
    left, right = algebra.split(product([outer, inner]), 7)
    assert (left.size, right.size) == (7, 13)
    assert shape_of(outer) == "(#2+a2)"
    assert shape_of(inner) == "(a2+b3)"


def test_two_products_meet_in_their_common_refinement() -> None:
    """(4 x 6) and (8 x 3): 4 x 2 x 3."""
    left, right = product([fresh(4), fresh(6)]), product([fresh(8), fresh(3)])
    Algebra().unify(left, right)
    assert shape_of(left) == shape_of(right) == "(a4*b2*c3)"


def test_products_without_a_common_refinement_are_pinned() -> None:
    """(2 x 3) and (3 x 2) have none."""
    left, right = product([fresh(2), fresh(3)]), product([fresh(3), fresh(2)])
    Algebra().unify(left, right)
    assert is_pinned(left) and is_pinned(right)


def test_a_product_met_by_itself_turned_around_ends() -> None:
    """a x b == b x a with a = 2, b = 4 forces b = a x a; without care this never ends."""
    a, b = fresh(2), fresh(4)
    Algebra().unify(product([a, b]), product([b, a]))
    assert {normal(leaf) for leaf in leaves(b)} == {normal(a)}


def test_reshape_factors_as_little_as_it_can() -> None:
    """[2, 12, 5] as [2, 3, 4, 5]: only the middle is touched."""
    algebra, batch, middle, last = Algebra(), fixed(2, "batch"), fresh(12), fresh(5)
    out = algebra.reshape([batch, middle, last], [2, 3, 4, 5])
    assert [node.size for node in out] == [2, 3, 4, 5]
    assert out[3] is last
    assert shape_of(middle) == "(a3*b4)"
    assert [shape_of(node) for node in algebra.reshape(out, [2, 12, 5])] == ["#2", "(a3*b4)", "a5"]


@pytest.mark.parametrize(
    ("before", "after"),
    [((17, 0), (0,)), ((0, 4), (0,)), ((0,), (3, 0)), ((0, 6), (0, 2, 5)), ((0, 6), (6, 0))],
)
def test_a_reshape_of_nothing_pins_what_it_cannot_follow(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    """A detector that finds no box in noise does it."""
    algebra = Algebra()
    nodes = [fresh(size) for size in before]
    found = algebra.reshape(nodes, after)
    assert [node.size for node in found] == list(after)
    followed = [normal(node) for node in found]
    assert all(is_pinned(normal(node)) for node in nodes if node.size > 1 and normal(node) not in followed)


def test_a_reshape_across_the_structure_pins_it() -> None:
    algebra, rows, columns = Algebra(), fresh(3), fresh(4)
    out = algebra.reshape([rows, columns], [2, 6])
    assert all(is_pinned(node) for node in (rows, columns, *out))


def test_single_dimensions_come_and_go() -> None:
    algebra, a, b = Algebra(), fresh(3), fresh(4)
    out = algebra.reshape([a, ONE, b], [1, 3, 1, 4, 1])
    assert [node.size for node in out] == [1, 3, 1, 4, 1]
    assert out[1] is a and out[3] is b


def test_split_at_the_ends_gives_an_empty_piece() -> None:
    a = fresh(5)
    assert [piece.size for piece in Algebra().split(a, 0)] == [0, 5]
    assert [piece.size for piece in Algebra().split(a, 5)] == [5, 0]
    assert free(a) == [5]


class Masks:
    """Every unpinned atom keeps a random set of its indices, so every expression keeps an explicit set."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.atoms: dict[int, tuple[Atom, Tensor]] = {}

    def of(self, node: Node) -> Tensor:
        node = normal(node)
        if isinstance(node, Atom):
            if node.pinned is not None:
                return torch.ones(node.size, dtype=torch.bool)
            made = torch.rand(node.size, generator=self.random) < 0.6
            return self.atoms.setdefault(id(node), (node, made))[1]
        parts = [self.of(child) for child in node.children]
        if isinstance(node, Cat):
            return torch.cat(parts)
        return self.product(parts)

    @staticmethod
    def product(parts: list[Tensor]) -> Tensor:
        result = torch.ones(1, dtype=torch.bool)
        for part in parts:
            result = (result[:, None] & part[None, :]).reshape(-1)
        return result


class Story:
    """A sequence of algebra operations, and what each of them claims about the axes."""

    def __init__(self) -> None:
        self.algebra = Algebra()
        self.nodes: list[Node] = [fresh(size) for size in (12, 12, 8, 6, 4, 3, 2)]
        self.claims: list[tuple[list[Node], Callable[..., Tensor], Node]] = []

    def pick(self, number: int) -> Node:
        return self.nodes[number % len(self.nodes)]

    def step(self, op: str, first: int, second: int, number: int) -> None:
        a, b = self.pick(first), self.pick(second)
        if op == "unify":
            same = [node for node in self.nodes if node.size == a.size]
            other = same[second % len(same)]
            self.algebra.unify(a, other)
            self.claims.append(([a], lambda x: x, other))
        elif op == "split":
            pieces = self.algebra.split(a, number % (a.size + 1))
            self.claims.append((list(pieces), lambda x, y: torch.cat([x, y]), a))
            self.nodes += [piece for piece in pieces if piece.size > 1]
        elif op == "concat" and a.size + b.size <= 40:
            self.nodes.append(concat([a, b]))
            self.claims.append(([a, b], lambda x, y: torch.cat([x, y]), self.nodes[-1]))
        elif op == "product" and a.size * b.size <= 60:
            self.nodes.append(product([a, b]))
            self.claims.append(([a, b], lambda x, y: Masks.product([x, y]), self.nodes[-1]))
        elif op == "factor":
            self._factor(a, number)
        elif op == "pin" and number % 3 == 0:
            self.algebra.pin(a, "asked")
            self.claims.append(([a], lambda x: torch.ones_like(x), a))
        elif op == "reshape":
            self._reshape(a, b, number)

    def _factor(self, node: Node, number: int) -> None:
        divisors = [n for n in range(1, node.size + 1) if node.size % n == 0]
        pair = self.algebra.factor(node, divisors[number % len(divisors)]) if divisors else None
        if pair is not None:
            self.claims.append((list(pair), lambda x, y: Masks.product([x, y]), node))
            self.nodes += [piece for piece in pair if piece.size > 1]

    def _reshape(self, a: Node, b: Node, number: int) -> None:
        total = a.size * b.size
        if 0 < total <= 120:
            divisors = [n for n in range(1, total + 1) if total % n == 0]
            rows = divisors[number % len(divisors)]
            made = self.algebra.reshape([a, b], [rows, 1, total // rows])
            whole = product([a, b])
            self.claims.append((made, lambda *parts: Masks.product(list(parts)), whole))
            assert [node.size for node in made] == [rows, 1, total // rows]


OPERATIONS = ["unify", "unify", "split", "concat", "product", "factor", "pin", "reshape"]
STORIES = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 40), st.integers(0, 40), st.integers(0, 60)),
    max_size=12,
)


def check_normal(node: Node) -> None:
    node = normal(node)
    if isinstance(node, Atom):
        assert node.bound is None
        return
    assert len(node.children) > 1
    sizes = [child.size for child in node.children]
    assert node.size == (sum(sizes) if isinstance(node, Cat) else torch.tensor(sizes).prod().item())
    for left, right in zip(node.children, node.children[1:], strict=False):
        assert not (is_pinned(left) and is_pinned(right))
    for child in node.children:
        assert type(normal(child)) is not type(node)
        assert child.size > 0
        check_normal(child)


@settings(max_examples=400)
@given(STORIES)
def test_every_operation_means_the_same_index_sets_forever(story: list[tuple[str, int, int, int]]) -> None:
    """Whatever is learnt later, an axis keeps exactly the indices that its pieces keep."""
    told = Story()
    for step in story:
        told.step(*step)
    masks = Masks(len(story))
    for parts, combine, whole in told.claims:
        assert torch.equal(combine(*[masks.of(part) for part in parts]), masks.of(whole))
    for node in told.nodes:
        check_normal(node)


def test_the_stories_leave_something_to_prune() -> None:
    """The property above would hold of an algebra that pins everything."""
    rng = random.Random(0)
    left = total = 0
    for _ in range(200):
        told = Story()
        for _ in range(6):
            told.step(rng.choice(OPERATIONS), rng.randrange(40), rng.randrange(40), rng.randrange(60))
        left += sum(any(free(node)) for node in told.nodes)
        total += len(told.nodes)
    assert left > 0.6 * total


@cache
def trial(seed: int) -> Trial:
    program, x = random_program(seed)
    space = trace(program, (x,))
    return Trial(program, x, space, random_keep(space, random.Random(seed)))


def check_program(seed: int, seen: Counter[str]) -> None:
    case = trial.__wrapped__(seed)
    space, sizes = case.space, {**case.space.sizes, **{g: len(kept) for g, kept in case.keep.items()}}
    exact = case.exact
    if exact:
        assert case.error(exact) < TOLERANCE, f"program {seed}: not the masked network"
    network, tensors = case.pruned(case.keep)
    if len(exact) < len(case.keep) or seed % 4 == 0:
        dense = outputs(case.program, case.tensors, case.x)
        assert [t.shape for t in outputs(network, tensors, case.x)] == [t.shape for t in dense]
    unique = {name for name, _ in case.program.named_parameters()}
    assert space.params.value(sizes) == sum(tensors[name].numel() for name in unique)
    if seed % 4 == 0 and countable(case.program):
        assert space.macs.value(space.sizes) == flops(case.program, case.tensors, case.x)
        assert space.macs.value(sizes) == flops(network, tensors, case.x), f"program {seed}: wrong cost"
        seen["counted"] += 1
    seen["groups"] += len(space.groups)
    seen["free"] += sum(group.frozen is None for group in space.groups)
    seen["value-changing"] += sum(group.value_changing is not None for group in space.groups)
    seen["bundles"] += sum(len(bundle.members) > 1 for bundle in space.bundles)
    seen["guards"] += len(space.guards)
    seen["exact"] += bool(exact)
    seen["steps"] += len(case.program.steps)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs_equal_their_masked_selves(chunk: int) -> None:
    """2,000 programs: traced, cut at random, run, compared in float64; a good share must really be cut."""
    share = PROGRAMS // CHUNKS
    seen: Counter[str] = Counter()
    for seed in range(chunk * share, (chunk + 1) * share):
        check_program(seed, seen)
    assert seen["exact"] > 0.7 * share
    assert seen["free"] > 0.8 * seen["groups"] > share
    assert seen["counted"] > 0.1 * share
    assert seen["steps"] > 4 * share
    assert min(seen[kind] for kind in ("value-changing", "bundles", "guards")) > 0


def wrong_cut(case: Trial, name: str, axes: tuple[Axis, ...], wrong: dict[int, Tensor]) -> float:
    """The oracle's error when dimension ``d`` of ``name`` keeps ``wrong[d]``; inf if forward raises."""
    keep = case.exact
    tensors = cut(case.tensors, case.space, keep)
    tensor = case.tensors[name]
    for dim, axis in enumerate(axes):
        kept = kept_indices(axis, case.space.sizes, keep) if dim not in wrong else wrong[dim]
        tensor = tensor.index_select(dim, kept)
    tensors[name] = tensor
    wanted = outputs(case.program, masked(case.tensors, case.space, keep), case.x)
    try:
        found = outputs(pruned(case.program, case.space, tensors, keep).eval(), tensors, case.x)
    except RuntimeError:
        return float("inf")
    return relative_error(wanted, found)


def permuted(axis: Axis, case: Trial) -> Tensor | None:
    kept = kept_indices(axis, case.space.sizes, case.exact)
    return kept.roll(1) if len(kept) > 1 else None


def other_part(axis: Axis, case: Trial) -> Tensor | None:
    """The kept indices as if the parts of the concatenation stood in another order."""
    if isinstance(axis, Concat):
        turned: Axis = Concat((*axis.parts[1:], axis.parts[0]))
    elif isinstance(axis, Product) and any(isinstance(factor, Concat) for factor in axis.factors):
        turned = Product(
            tuple(
                Concat((*factor.parts[1:], factor.parts[0])) if isinstance(factor, Concat) else factor
                for factor in axis.factors
            )
        )
    else:
        return None
    right, wrong = (kept_indices(a, case.space.sizes, case.exact) for a in (axis, turned))
    return None if torch.equal(right, wrong) else wrong


def uncut(axis: Axis, case: Trial) -> Tensor | None:
    return torch.arange(len(kept_indices(axis, case.space.sizes, {})))


CONTROLS: dict[str, Callable[[Axis, Trial], Tensor | None]] = {
    "a permuted list of kept indices": permuted,
    "the wrong part of a concatenation": other_part,
    "a consumer that is not cut": uncut,
}


@pytest.mark.parametrize("control", CONTROLS)
def test_the_oracle_fails_on_a_wrong_cut(control: str) -> None:
    """One dimension of one weight is cut wrongly: nearly every such program must give another output."""
    caught = tried = 0
    for seed in range(260):
        case = trial(seed)
        exact = case.exact
        spoilt = []
        for name, _ in case.program.named_parameters():
            for dim, axis in enumerate(case.space.axes[name]):
                consumer = name.endswith("weight") and dim == 1
                if consumer and any(group in exact for group in groups_in(axis)):
                    wrong = CONTROLS[control](axis, case)
                    spoilt += [(name, dim, wrong)] if wrong is not None else []
        for name, dim, wrong in spoilt[:1]:
            tried += 1
            caught += wrong_cut(case, name, case.space.axes[name], {dim: wrong}) > 1e-6
    assert tried > 25
    assert caught >= 0.9 * tried


def test_the_oracle_fails_without_the_mask() -> None:
    """Removing units does change the output: a network compared with the unmasked dense one must differ."""
    changed = tried = 0
    for seed in range(100):
        case = trial(seed)
        if case.exact:
            tried += 1
            dense = outputs(case.program, case.tensors, case.x)
            changed += relative_error(dense, outputs(*case.pruned(case.exact), case.x)) > 1e-6
    assert changed > 0.9 * tried > 50

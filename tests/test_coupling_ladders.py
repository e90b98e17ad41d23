"""Sizes that only a solver can find, checked by putting them into the equalities by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from tracing import Net, check, half, space_of

from prunecli.assembly import all_tensors
from prunecli.coupling import trace
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.ladders import Equality, join_by_ladders
from prunecli.coupling.space import Bundle, Group, Member
from prunecli.proofs import pruned
from prunecli.surgery import cut

X, Y, Z = (Polynomial.variable(name) for name in "xyz")


def single(name: str, stride: int = 1) -> Bundle:
    return Bundle((Member(name, stride),))


def test_a_product_of_two_free_sizes() -> None:
    """x = y * z: every rung satisfies it, and the last is far below half."""
    sizes = {"x": 24, "y": 4, "z": 6, "other": 9}
    bundles = [single("x"), single("other"), single("y"), single("z")]
    joined, frozen = join_by_ladders(bundles, [Equality(X - Y * Z, "heads times size")], sizes)
    assert not frozen
    ladder = next(bundle for bundle in joined if bundle.rungs)
    assert [member.group for member in ladder.members] == ["x", "y", "z"]
    assert ladder.reason == "heads times size"
    assert single("other") in joined
    for x, y, z in ladder.rungs:
        assert 24 - x == (4 - y) * (6 - z) > 0
    assert list(ladder.rungs) == sorted(set(ladder.rungs))
    assert all(a <= b for low, high in zip(ladder.rungs, ladder.rungs[1:], strict=False)
               for a, b in zip(low, high, strict=True))  # fmt: skip
    assert 24 - ladder.rungs[-1][0] < 12


def test_strides_of_what_is_already_tied_are_kept() -> None:
    """x loses two at a time, y + z == x."""
    sizes = {"x": 10, "y": 4, "z": 6}
    joined, _ = join_by_ladders(
        [single("x", 2), single("y"), single("z")], [Equality(X - Y - Z, "sum")], sizes
    )
    (ladder,) = joined
    for x, y, z in ladder.rungs:
        assert x % 2 == 0
        assert x == y + z
    assert max(x for x, _, _ in ladder.rungs) == 8


def test_what_no_smaller_sizes_satisfy_is_frozen() -> None:
    """7 is prime: y * z = 7 holds for 1 x 7 only, and x would have to shrink with neither."""
    fixed = Polynomial.constant(7)
    joined, frozen = join_by_ladders(
        [single("y"), single("x")], [Equality(Y * Y - fixed * fixed, "square")], {"y": 7, "x": 3}
    )
    assert frozen == {"y": "square"}
    assert joined == (single("x"),)


def test_the_ladder_of_a_bundle_after_a_cut() -> None:
    bundle = Bundle((Member("x", 1), Member("y", 1)), "r", ((2, 1), (4, 2), (8, 3)))
    assert bundle.after({"x": 4, "y": 2}).removals({"x": 6, "y": 3}) == ((0, 0), (4, 1))
    assert bundle.after({"x": 8, "y": 3}).removals({"x": 2, "y": 1}) == ((0, 0), (0, 0))


class Heads(nn.Module):
    """Hand-written attention that views its features as heads x head size, and back as features."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 4
        self.stem, self.qkv, self.out = nn.Linear(6, 24), nn.Linear(24, 72), nn.Linear(24, 24)
        self.last = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        batch, tokens, features = x.shape
        q, k, v = (
            self.qkv(x)
            .reshape(batch, tokens, 3, self.num_heads, features // self.num_heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, features)
        return self.last(x + self.out(mixed))


def is_head(group: Group) -> bool:
    return group.kind == "heads"


def test_heads_and_features_shrink_together() -> None:
    torch.manual_seed(0)
    space = check(Heads().eval(), 2, 5, 6, thaw=is_head)
    (ladder,) = (bundle for bundle in space.bundles if bundle.rungs)
    kinds = [space.by_name[member.group].kind for member in ladder.members]
    assert sorted(kinds) == ["channels", "head dimension", "heads"]
    assert len(half(space)) == 3
    assert not any(bundle.rungs for bundle in space_of(Heads().eval(), 2, 5, 6).bundles)


@pytest.mark.parametrize("rung", [0, -1])
def test_a_rung_satisfies_forward(rung: int) -> None:
    net = Heads().eval()
    space = trace(net, (torch.randn(2, 5, 6),), free=is_head)
    (ladder,) = (bundle for bundle in space.bundles if bundle.rungs)
    gone = ladder.rungs[rung]
    keep = {m.group: list(range(n, space.sizes[m.group])) for m, n in zip(ladder.members, gone, strict=True)}
    small = pruned(net, space, cut(all_tensors(net), space, keep), keep)
    assert small.stem.weight.shape[0] == small.num_heads * (small.qkv.weight.shape[0] // 3 // small.num_heads)
    assert small(torch.randn(2, 5, 6)).shape == (2, 5, 3)


def test_layers_of_a_plain_network_need_no_solver() -> None:
    net = Net(lambda m, x: m.b(m.a(x)), a=nn.Linear(4, 6), b=nn.Linear(6, 2))
    assert [bundle.rungs for bundle in space_of(net, 2, 4).bundles] == [()]

"""Operators that only rearrange, on networks with hand-worked groups and the masked oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, check_macs, example, free, group_of, reason, slots, space_of, strides

from prunecli.coupling.axes import Concat, Fixed, Product, Units


def pair(function: Callable[..., Tensor], size: int, out: int) -> Net:
    """``b(function(a(x)))`` with ``a`` of ``size`` features and ``b`` reading ``out``."""
    return Net(lambda m, x: m.b(function(m.a(x))), a=nn.Linear(4, size), b=nn.Linear(out, 3))


def test_concatenation_keeps_its_parts_apart() -> None:
    net = Net(
        lambda m, x: m.out(torch.cat([m.a(x), x, m.b(x)], 1)),
        a=nn.Conv2d(3, 5, 1), b=nn.Conv2d(3, 7, 1), out=nn.Conv2d(15, 2, 1),
    )  # fmt: skip
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"a": 5, "b": 7}
    assert space.axes["out.weight"][1] == Concat((Units("a"), Fixed(3), Units("b")))


def test_a_concatenation_flattened_with_positions() -> None:
    """A VGG-like head over a concatenation: every column belongs to (part, position)."""
    net = Net(
        lambda m, x: m.out(torch.cat([m.a(x), m.b(x)], 1).flatten(1)),
        a=nn.Conv2d(3, 5, 1), b=nn.Conv2d(3, 7, 1), out=nn.Linear(48, 2),
    )  # fmt: skip
    space = check(net, 2, 3, 2, 2)
    assert free(space) == {"a": 5, "b": 7}
    assert space.axes["out.weight"][1] == Product((Concat((Units("a"), Units("b"))), Fixed(4)))


def test_dense_blocks_concatenate_again_and_again() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        features = [m.stem(x)]
        for layer in (m.a, m.b):
            features.append(layer(torch.cat(features, 1)))
        return m.out(torch.cat(features, 1))

    net = Net(
        forward, stem=nn.Conv2d(3, 6, 1), a=nn.Conv2d(6, 4, 1), b=nn.Conv2d(10, 4, 1), out=nn.Conv2d(14, 2, 1)
    )
    space = check(net, 2, 3, 4, 4)
    assert free(space) == {"stem": 6, "a": 4, "b": 4}
    assert space.axes["b.weight"][1] == Concat((Units("stem"), Units("a")))


def test_shuffled_concatenation_splits_inside_a_unit() -> None:
    """ShuffleNet: 6 + 6 channels shuffled by two, then cut at 6: the shuffle pairs a[i] with b[i]."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = torch.cat([m.a(x), m.b(x)], 1)
        batch, channels, height, width = h.shape
        h = h.view(batch, m.groups, channels // m.groups, height, width).transpose(1, 2)
        first, second = h.reshape(batch, channels, height, width).chunk(2, 1)
        return m.out(torch.cat([first, m.c(second)], 1))

    for size in (6, 7):
        net = Net(
            forward, groups=2, a=nn.Conv2d(3, size, 1), b=nn.Conv2d(3, size, 1), c=nn.Conv2d(size, size, 1),
            out=nn.Conv2d(2 * size, 2, 1),
        )  # fmt: skip
        space = check(net, 2, 3, 4, 4)
        # With 7, the border runs through the middle pair, which stays.
        sizes = sorted(free(space).values())
        assert sizes == ([3, 3, 6] if size == 6 else [3, 3, 7])
        assert strides(space) and set(strides(space)[0].values()) == {1}


def test_chunks_are_equally_long_not_the_same() -> None:
    """x, y = h.chunk(2): both halves must lose equally many, each its own."""
    net = Net(
        lambda m, x: m.c(torch.cat([m.b(m.a(x).chunk(2, -1)[0]), m.a(x).chunk(2, -1)[1]], -1)),
        a=nn.Linear(4, 12), b=nn.Linear(6, 5), c=nn.Linear(11, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [5, 6, 6]
    assert [sorted(bundle.values()) for bundle in strides(space)] == [[1, 1]]
    assert "chunks of equal size" in (next(b for b in space.bundles if len(b.members) > 1).reason or "")


def test_uneven_chunks_stay_as_uneven() -> None:
    net = pair(lambda h: h.chunk(2, -1)[0], 7, 4)
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [3, 4]
    assert [sorted(bundle.values()) for bundle in strides(space)] == [[1, 1]]


def test_glu_halves_lose_the_same() -> None:
    space = check(pair(F.glu, 12, 6), 2, 4)
    assert list(free(space).values()) == [6]
    axis = space.axes["a.weight"][0]
    assert isinstance(axis, Concat | Product)


def test_splitting_by_attributes_and_by_sizes() -> None:
    net = Net(
        lambda m, x: m.c(m.b(m.a(x).split([m.first, m.second], -1)[1])),
        a=nn.Linear(4, 10), b=nn.Linear(7, 6), c=nn.Linear(6, 2), first=3, second=7,
    )  # fmt: skip
    space = check(net, 2, 4)
    assert sorted(free(space).values()) == [3, 6, 7]
    assert group_of(space, "b.weight", 1).size == 7


def test_splitting_by_plain_numbers_pins() -> None:
    net = pair(lambda h: h.split([3, 7], -1)[1], 10, 7)
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "plain number" in reason(space, "b.weight", 1)


def test_merging_and_splitting_dimensions() -> None:
    """12 = heads x 4 features, put back together in another order."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b(h.view(h.shape[0], m.heads, h.shape[1] // m.heads).transpose(1, 2).reshape(h.shape[0], -1))

    space = check(Net(forward, heads=3, a=nn.Linear(4, 12), b=nn.Linear(12, 2)), 2, 4)
    assert sorted(free(space).values()) == [3, 4]
    outer, inner = (factor.group for factor in space.axes["a.weight"][0].factors)  # type: ignore[union-attr]
    assert space.axes["b.weight"][1] == Product((Units(inner), Units(outer)))
    assert (space.sizes[outer], space.sizes[inner]) == (3, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda h: h.unsqueeze(1).squeeze(1), lambda h: h[:, None, :, None].squeeze(),
        lambda h: h.t().t(), lambda h: h.transpose(0, 1).permute(1, 0), lambda h: h.contiguous().clone(),
        lambda h: h.unflatten(1, (1, -1)).flatten(1), lambda h: torch.stack([h, h], 1).sum(1),
        lambda h: h.expand(3, *h.shape)[0], lambda h: h[...], lambda h: h.movedim(0, 1).movedim(0, 1),
        lambda h: F.pad(h.unsqueeze(1), (0, 0, 1, 1)).sum(1),
        lambda h: h.unbind(0)[0].unsqueeze(0).expand(2, -1),
    ],
)  # fmt: skip
def test_the_axis_survives(function: Callable[[Tensor], Tensor]) -> None:
    space = check(pair(function, 6, 6), 2, 4)
    assert free(space) == {"a": 6}
    assert ("b.weight", 1) in slots(space.by_name["a"])
    assert not space.unknown_operators


def test_padding_is_concatenation_with_what_stays() -> None:
    space = check(pair(lambda h: F.pad(h, (1, 2)), 6, 9), 2, 4)
    assert space.axes["b.weight"][1] == Concat((Fixed(1), Units("a"), Fixed(2)))


def test_a_stack_stays_and_its_parts_are_one() -> None:
    net = Net(
        lambda m, x: m.c(torch.stack([m.a(x), m.b(x)], 1).flatten(1)),
        a=nn.Linear(4, 6), b=nn.Linear(4, 6), c=nn.Linear(12, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert space.axes["c.weight"][1] == Product((Fixed(2), Units("a")))


def test_repeat_is_a_product() -> None:
    space = check(pair(lambda h: h.repeat(1, 3), 6, 18), 2, 4)
    assert space.axes["b.weight"][1] == Product((Fixed(3), Units("a")))


def test_one_index_taken_pins() -> None:
    net = Net(lambda m, x: m.b(m.a(x)[:, 0]), a=nn.Conv1d(3, 6, 1), b=nn.Linear(5, 2))
    assert "index 0 of it is taken" in reason(space_of(net, 2, 3, 5), "a.weight")


def test_every_second_index_pins() -> None:
    space = space_of(pair(lambda h: h[:, ::2], 6, 3), 2, 4)
    assert "every 2th index" in reason(space, "a.weight")


def test_pixel_shuffle_keeps_the_positions_inside() -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 1), nn.PixelShuffle(2), nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 3, 3)
    assert space.axes["0.weight"][0] == Product((Units("0"), Fixed(4)))
    assert space.axes["2.weight"][1] == Units("0")


def test_pixel_unshuffle_and_unfold() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.PixelUnshuffle(2), nn.Conv2d(24, 2, 1))
    assert check(net, 2, 3, 4, 4).axes["2.weight"][1] == Product((Units("0"), Fixed(4)))
    unfold = Net(
        lambda m, x: m.b(F.unfold(m.a(x), 2).transpose(1, 2)), a=nn.Conv2d(3, 6, 1), b=nn.Linear(24, 2)
    )
    assert check(unfold, 2, 3, 3, 3).axes["b.weight"][1] == Product((Units("a"), Fixed(4)))


def test_fold_lays_kernel_positions_back() -> None:
    """VOLO: a linear layer makes channels x kernel positions, which are summed where they overlap."""
    net = Net(
        lambda m, x: m.b(F.fold(m.a(x).transpose(1, 2), 3, 2)), a=nn.Linear(5, 24), b=nn.Conv2d(6, 2, 1)
    )
    space = check(net, 2, 4, 5)
    assert space.axes["a.weight"][0] == Product((Units("a"), Fixed(4)))
    assert space.unknown_operators == ()


def test_channel_shuffle_as_one_operator() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ChannelShuffle(2), nn.Conv2d(6, 2, 1))
    space = check(net, 2, 3, 4, 4)
    assert space.axes["0.weight"][0] == Product((Fixed(2), Units("0")))
    assert space.axes["2.weight"][1] == Product((Units("0"), Fixed(2)))


def test_unfolding_and_folding_keep_channels_apart() -> None:
    net = Net(
        lambda m, x: m.b(F.fold(F.unfold(m.a(x), 3, padding=1), x.shape[2:], 3, padding=1)),
        a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert free(check(net, 2, 3, 4, 4)) == {"a": 6}


def test_windows_of_positions() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).amax(-1)),
        a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    assert free(check(net, 2, 3, 4, 4)) == {"a": 6}
    of_channels = Net(lambda m, x: m.b(m.a(x).unfold(1, 3, 3)[..., 0]), a=nn.Linear(4, 6), b=nn.Linear(2, 2))
    assert reason(space_of(of_channels, 2, 4), "a.weight").startswith("windows of it are taken")


def test_a_diagonal_keeps_what_it_runs_through() -> None:
    net = Net(
        lambda m, x: m.b(m.a(x)[:, :, None].expand(-1, -1, 3).diagonal(0, 0, 2)[..., :2].t()),
        a=nn.Linear(4, 6), b=nn.Linear(6, 2),
    )  # fmt: skip
    assert free(check(net, 3, 4)) == {"a": 6}
    both = Net(
        lambda m, x: m.b(m.a(x).unflatten(1, (m.n, m.n)).diagonal(0, 1, 2)),
        a=nn.Linear(4, 36), b=nn.Linear(6, 2), n=6,
    )  # fmt: skip
    space = space_of(both, 2, 4)
    assert not free(space)
    assert reason(space, "a.weight").startswith("the diagonal of it is taken")


@pytest.mark.parametrize(
    "equation", ["bti,oi->bto", "bti,io->bto", "...i,oi->...o", "b t i , o i", "...i,io"]
)
def test_einsum_as_a_linear_layer(equation: str) -> None:
    weight = torch.randn(6, 8) if "io" in equation else torch.randn(8, 6)
    net = Net(lambda m, x: torch.einsum(equation, m.a(x), m.w), a=nn.Linear(4, 6), w=nn.Parameter(weight))
    space = check(net, 2, 5, 4)
    assert free(space) == {"a": 6}
    check_macs(net, space, example(2, 5, 4))


def test_einsum_of_three_and_of_attention() -> None:
    low_rank = Net(
        lambda m, x: m.out(torch.einsum("bi,ir,ro->bo", m.a(x), m.u, m.v)),
        a=nn.Linear(4, 6), u=nn.Parameter(torch.randn(6, 5)), v=nn.Parameter(torch.randn(5, 8)),
        out=nn.Linear(8, 2),
    )  # fmt: skip
    space = check(low_rank, 2, 4)
    assert free(space) == {"a": 6, "u": 5, "v": 8}
    check_macs(low_rank, space, example(2, 4))

    def attend(m: Net, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (m.heads, -1)) for layer in (m.q, m.k, m.v))
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).mul(0.3).softmax(-1)
        return m.out(torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(-2))

    layers = {name: nn.Linear(4, 12) for name in "qkv"}
    attention = Net(attend, **layers, out=nn.Linear(12, 2), heads=3)
    space = check(attention, 2, 5, 4)
    assert sorted(free(space).values()) == [4, 4]
    check_macs(attention, space, example(2, 5, 4))


@pytest.mark.parametrize(
    ("equation", "out"), [("bi,bj->bij", 48), ("bi,bj->bji", 48), ("bi,bj->bi", 6), ("bi,bj->b", 1)]
)
def test_einsum_of_two_kinds_of_features(equation: str, out: int) -> None:
    net = Net(
        lambda m, x: m.out(torch.einsum(equation, m.a(x), m.b(x)).reshape(x.shape[0], -1)),
        a=nn.Linear(4, 6), b=nn.Linear(4, 8), out=nn.Linear(out, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6, "b": 8}
    check_macs(net, space, example(2, 4))


def test_tensordot() -> None:
    net = Net(
        lambda m, x: m.out(torch.tensordot(m.a(x), m.w, dims=([1], [0]))),
        a=nn.Linear(4, 6), w=nn.Parameter(torch.randn(6, 8)), out=nn.Linear(8, 2),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"a": 6, "w": 8}
    check_macs(net, space, example(2, 4))


def test_nothing_and_nothing_is_nothing() -> None:
    """A detector that finds no box concatenates empty rows."""

    def forward(m: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        h = m.a(x)
        found = m.b(h)
        none = found.flatten()[:0]
        return found, torch.cat([none, none])

    assert free(check(Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2)), 2, 4)) == {"a": 6}

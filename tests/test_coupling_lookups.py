"""Indices chosen by number: what is chosen among stays, what is carried along passes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, check_on, example, free, group_of, patches, reason, slots, space_of, strides

PLACES = torch.tensor([2, 0, 1])


def carried(function: Callable[[Tensor, Tensor], Tensor]) -> Net:
    """``b(function(a(x), order of the steps))``; features are carried along."""
    return Net(lambda m, x: m.b(function(m.a(x), x.sum(-1).argsort(1))), a=nn.Linear(4, 6), b=nn.Linear(6, 3))


def spread(h: Tensor, steps: Tensor) -> Tensor:
    return steps[..., None].expand(-1, -1, h.shape[-1])


CARRIED = {
    "gather": lambda h, steps: h.gather(1, spread(h, steps)),
    "gather fewer": lambda h, steps: h.gather(1, spread(h, steps)[:, :2]),
    "index_select": lambda h, steps: h.index_select(1, PLACES),
    "index": lambda h, steps: h[:, PLACES],
    "topk": lambda h, steps: h.topk(2, 1).values,
    "kthvalue": lambda h, steps: h.kthvalue(2, 1).values,
    "median": lambda h, steps: h.median(1).values,
    "mode": lambda h, steps: h.mode(1).values,
    "sort": lambda h, steps: h.sort(1).values,
    "scatter": lambda h, steps: torch.zeros_like(h).scatter(1, spread(h, steps), h),
    "scatter_add": lambda h, steps: torch.zeros_like(h).scatter_add(1, spread(h, steps), h),
    "scatter a number": lambda h, steps: h.scatter(1, spread(h, steps)[:, :1], 0.0),
    "scatter_reduce": lambda h, steps: h.scatter_reduce(1, spread(h, steps), h * 2, "amax"),
    "index_add": lambda h, steps: h.index_add(1, PLACES, h[:, :3]),
    "index_copy": lambda h, steps: h.index_copy(1, PLACES, h[:, :3] * 2),
    "index_fill": lambda h, steps: h.index_fill(1, PLACES[:1], 0.0),
    "index_put": lambda h, steps: h.index_put((torch.tensor([0]), torch.tensor([1])), h[1, 1] * 2),
    "masked_fill": lambda h, steps: h.masked_fill(steps[..., None] > 1, 0.0),
    "where": lambda h, steps: torch.where(steps[..., None] > 1, h, h * 2),
}


@pytest.mark.parametrize("name", CARRIED)
def test_features_are_carried_along(name: str) -> None:
    space = check(carried(CARRIED[name]), 2, 5, 4)
    assert free(space) == {"a": 6}
    assert not space.unknown_operators


@pytest.mark.parametrize(
    "choose",
    [
        lambda h: h.topk(3, -1).values, lambda h: h.gather(1, h.topk(2, 1).indices), lambda h: h[:, PLACES],
        lambda h: h.index_select(1, PLACES), lambda h: h.median(1, keepdim=True).values,
        lambda h: h.scatter(1, torch.zeros(2, 1, dtype=torch.int64), 0.0),
        lambda h: h.median()[None, None] * h[:, :1],
    ],
)  # fmt: skip
def test_what_is_chosen_among_stays(choose: Callable[[Tensor], Tensor]) -> None:
    net = Net(lambda m, x: choose(m.a(x)).sum(1), a=nn.Linear(4, 6))
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "chosen by" in reason(space, "a.weight") or "indexed by" in reason(space, "a.weight")


def test_indexing_by_a_tensor_pins_only_what_is_indexed() -> None:
    index = torch.tensor([0, 2, 1])
    net = Net(lambda m, x: m.b(m.a(x)[:, index]), a=nn.Linear(4, 6), b=nn.Linear(3, 3))
    taken = space_of(net, 2, 4)
    assert "indexed by a tensor" in reason(taken, "a.weight")
    space = check(Net(lambda m, x: m.b(m.a(x)[:, index]), a=nn.Linear(4, 6), b=nn.Linear(6, 2)), 2, 5, 4)
    assert free(space) == {"a": 6}


def test_a_mask_covers_as_many_dimensions_as_it_has() -> None:
    """Steps that count are packed together: only a run on real tensors can tell how many they are."""
    net = Net(lambda m, x: m.b(m.a(x)[x.sum(-1) > 0]), a=nn.Linear(4, 6), b=nn.Linear(6, 3))
    assert free(check(net, 2, 5, 4)) == {"a": 6}


def test_a_mixture_of_experts() -> None:
    """The router picks two of three experts per step; their width is free, their number is not."""

    def forward(m: Net, x: Tensor) -> Tensor:
        h = m.a(x)
        weights, chosen = m.router(h).softmax(-1).topk(2, -1)
        outs = torch.stack([expert(h) for expert in m.experts], -2)
        picked = outs.gather(-2, chosen[..., None].expand(*chosen.shape, h.shape[-1]))
        return m.b((picked * weights[..., None]).sum(-2))

    experts = [nn.Sequential(nn.Linear(8, 10), nn.ReLU(), nn.Linear(10, 8)) for _ in range(3)]
    net = Net(
        forward, a=nn.Linear(4, 8), router=nn.Linear(8, 3), experts=nn.ModuleList(experts), b=nn.Linear(8, 2)
    )
    space = check(net, 2, 5, 4)
    assert sorted(free(space).values()) == [8, 8, 10, 10, 10]
    assert ("experts.2.2.weight", 0) in slots(group_of(space, "b.weight", 1))
    # What is gathered is as wide as the stream: the experts write what the stream could carry.
    assert {1} == {stride for bundle in strides(space) for stride in bundle.values()}


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("weighted", [False, True])
def test_bags_of_embeddings(mode: str, weighted: bool) -> None:
    if weighted and mode != "sum":
        pytest.skip("torch weighs only sums")
    words = torch.tensor([[1, 2, 4], [3, 3, 0]])
    net = Net(
        lambda m, x: m.b(m.a(x, per_sample_weights=m.scale.expand(x.shape) if weighted else None)),
        a=nn.EmbeddingBag(10, 6, mode=mode), b=nn.Linear(6, 2), scale=nn.Parameter(torch.rand(1)),
    )  # fmt: skip
    space = check_on(net, words)
    assert free(space) == {"a": 6}
    assert [(s.dim, s.role) for s in space.by_name["a"].slots if s.parameter == "a.weight"] == [(1, "out")]
    assert patches(space, "a") == {("embedding_dim", None): 3}


def test_bags_with_offsets() -> None:
    net = Net(lambda m, words, starts: m.b(m.a(words, starts)), a=nn.EmbeddingBag(10, 6), b=nn.Linear(6, 2))
    space = check_on(net, torch.tensor([1, 2, 4, 5]), torch.tensor([0, 3]))
    assert free(space) == {"a": 6}


def test_an_embedding_that_is_the_output_head_too() -> None:
    net = Net(
        lambda m, words: m.head(F.relu(m.mix(m.embed(words)))),
        embed=nn.Embedding(20, 8), mix=nn.Linear(8, 8), head=nn.Linear(8, 20, bias=False),
    )  # fmt: skip
    net.head.weight = net.embed.weight
    space = check_on(net, torch.tensor([[1, 2, 3]]))
    assert free(space) == {"embed": 8}
    assert slots(space.by_name["embed"]) == {
        ("embed.weight", 1), ("mix.weight", 0), ("mix.weight", 1), ("mix.bias", 0),
    }  # fmt: skip
    assert space.axes["head.weight"] == space.axes["embed.weight"]


def test_a_mixture_is_also_the_example_of_values_chosen_from_a_constant() -> None:
    table = torch.linspace(0, 1, 7, dtype=torch.float64)
    net = Net(
        lambda m, x: m.b(m.a(x) * table[x.argsort(-1)[:, :1]].to(x.dtype)),
        a=nn.Linear(4, 6),
        b=nn.Linear(6, 2),
    )
    assert free(check_on(net, example(2, 4))) == {"a": 6}

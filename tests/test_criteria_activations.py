from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.coupling import trace
from prunecli.criteria import activations as room
from prunecli.criteria.activations import Activations
from prunecli.criteria.passes import Passes
from prunecli.criteria.views import group_views
from prunecli.data.samples import Batch, Samples
from prunecli.inputs import Inputs
from prunecli.running.chunks import one_thread_each

CPU = torch.device("cpu")


class Net(nn.Module):
    """``mid`` is read by a convolution twice and by a linear layer behind flattened maps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.twice = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = x + self.twice(x).relu()
        x = x + self.twice(x).tanh()
        return self.head(x.flatten(1))


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).relu()
        return self.head(x + self.attention(x, x, x, need_weights=False)[0])


def run(net: nn.Module, x: Tensor, what: Callable[[Activations], Any], memory: int = 1 << 30) -> Any:
    space = trace(net, (x[:1],))
    samples = Samples((Batch(Inputs((x,))),), "made")
    with one_thread_each(CPU) as chunks:
        passes = Passes.over(net, samples, CPU, chunks, None)
        views = group_views(space, all_tensors(passes.network), 0, CPU)
        return what(Activations(passes, views, memory, 0))


def net_and_inputs(kind: type[nn.Module], *shape: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return kind().double().eval().requires_grad_(False), torch.randn(*shape, dtype=torch.float64)


def seen_by(module: nn.Module, net: nn.Module, x: Tensor) -> list[Tensor]:
    found: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: found.append(args[0]))
    net(x)
    handle.remove()
    return found


def test_sums_are_over_all_that_an_operation_is_given() -> None:
    net, x = net_and_inputs(Net, 21, 2, 4, 4)
    seen = run(net, x, lambda a: a.sums(frozenset({"inputs", "ranks"})))
    given = torch.stack(seen_by(net.twice, net, x))
    found = seen.inputs["twice.weight", 1]
    assert found.count == 2 * 21 * 16
    assert torch.allclose(found.magnitude, given.abs().sum((0, 1, 3, 4)))
    assert torch.allclose(found.squares, given.square().sum((0, 1, 3, 4)))
    (flat,) = seen_by(net.head, net, x)
    assert torch.allclose(seen.inputs["head.weight", 1].magnitude, flat.abs().sum(0))
    assert torch.allclose(
        seen.mean_ranks["twice.weight", 1], torch.linalg.matrix_rank(given).double().mean((0, 1))
    )
    assert ("head.weight", 1) not in seen.ranks, "rows are no maps"


def contributions(net: Net, x: Tensor) -> Tensor:
    """``[all outputs, n]`` of ``stem``'s units, through both uses of ``twice`` and through ``head``."""
    made = []
    for unit in range(6):
        only = torch.zeros(6, dtype=x.dtype)
        only[unit] = 1
        parts = [
            nn.functional.conv2d(given * only.view(1, 6, 1, 1), net.twice.weight, padding=1)
            for given in seen_by(net.twice, net, x)
        ]
        (flat,) = seen_by(net.head, net, x)
        parts.append((flat.view(-1, 6, 16) * only.view(1, 6, 1)).flatten(1) @ net.head.weight.T)
        made.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(made, 1)


@pytest.mark.parametrize(("memory", "widest"), [(1 << 30, 6144), (1, 6144), (1 << 30, 1)])
def test_grams_are_those_of_the_contributions(
    memory: int, widest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many passes it takes, and by either way of multiplying."""
    monkeypatch.setattr(room, "_WIDEST", widest)
    net, x = net_and_inputs(Net, 21, 2, 4, 4)
    assert isinstance(net, Net)
    grams = run(net, x, Activations.grams, memory)
    total = sum(gram for (group, _, _), gram in grams.items() if group == "stem")
    c = contributions(net, x)
    assert torch.allclose(total, c.T @ c, rtol=1e-9)


def test_projections_that_are_rows_of_one_parameter() -> None:
    net, x = net_and_inputs(Attends, 5, 3, 4)
    grams = run(net, x, Activations.grams)
    found = grams["embed", "attention.in_proj_weight", 1]
    (given,) = seen_by(net.attention, net, x)
    c = torch.einsum("btk,ok->btok", given, net.attention.in_proj_weight).flatten(0, 2)
    assert torch.allclose(found, c.T @ c, rtol=1e-9)
    sums = run(net, x, lambda a: a.sums(frozenset({"inputs"})))
    inputs = sums.inputs["attention.in_proj_weight", 1]
    assert torch.allclose(inputs.magnitude / inputs.count, given.abs().mean((0, 1)))


def test_bits_do_not_depend_on_threads_and_positions_are_seeded() -> None:
    net, x = net_and_inputs(Net, 40, 2, 8, 8)
    net.head = nn.Linear(6 * 64, 3).double()
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run(net.float(), x.float(), Activations.grams))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(gram, results[1][key]) for key, gram in results[0].items())
    c = torch.stack([
        nn.functional.conv2d(given[:, k : k + 1], net.twice.weight[:, k : k + 1], padding=1).flatten()
        for given in seen_by(net.twice, net, x.float()) for k in range(6)
    ])  # fmt: skip
    exact = sum(c[i : i + 6].double() @ c[i : i + 6].double().T for i in (0, 6))
    sampled = results[0]["stem", "twice.weight", 1]
    assert 0 < float((sampled - exact).norm() / exact.norm()) < 0.1, "16 of 64 positions, scaled"

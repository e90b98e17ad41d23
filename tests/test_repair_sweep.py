"""The whole sweep; what is solved at one operation is tested with that."""

from __future__ import annotations

import pytest
import torch
from repair_examples import CPU, convolutions, sweep
from torch import Tensor, nn

import prunecli
from prunecli.assembly import all_tensors, rebuilt
from prunecli.inputs import Inputs
from prunecli.repair.queries import AND_OF_LOGITS
from prunecli.repair.site import LEAST_SQUARES
from prunecli.repair.survey import survey
from prunecli.repair.sweep import Sweep
from prunecli.running.chunks import one_thread_each


def test_heads_of_attention_and_packed_projections() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(5, 24)
            self.attention = nn.MultiheadAttention(24, 4, batch_first=True)
            self.mlp = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 24))
            self.head = nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            h = h + self.attention(h, h, h, need_weights=False)[0]
            return self.head((h + self.mlp(h)).mean(1))

    torch.manual_seed(0)
    found = sweep(Attention(), torch.randn(64, 6, 5, dtype=torch.float64), 8)
    assert found.done["attention.in_proj_weight"].method == LEAST_SQUARES + AND_OF_LOGITS
    with torch.no_grad():
        x = torch.randn(16, 6, 5, dtype=torch.float64)
        wanted, cut, repaired = (net(x) for net in (found.dense, found.cut, found.repaired))
    assert float((repaired - wanted).norm()) < 0.8 * float((cut - wanted).norm())


def test_operations_on_another_number_of_rows_are_left() -> None:
    class Latent(nn.Module):
        """How many things are learned to ask for is a width that may be cut."""

        def __init__(self) -> None:
            super().__init__()
            self.rows, self.ask = nn.Parameter(torch.randn(1, 8, 6)), nn.Linear(6, 6)
            self.key, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            k = self.key(x)
            q = self.ask(self.rows).expand(len(x), -1, -1)
            return self.head(nn.functional.scaled_dot_product_attention(q, k, k).mean(1))

    torch.manual_seed(0)
    found = sweep(Latent(), torch.randn(32, 7, 5, dtype=torch.float64), 4)
    assert found.repaired.rows.shape[1] < 8
    assert found.done["ask.weight"].reason == "it is computed for each of some units, of which some were cut"


def test_a_cut_that_changes_nothing_is_left_alone() -> None:
    """Units whose weights are zero already: the first operation after them is exact as cut."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    x = torch.randn(16, 4, dtype=torch.float64)
    with torch.no_grad():
        net[0].weight[4:], net[0].bias[4:], net[2].weight[:, 4:] = 0, 0, 0
    result = prunecli.prune(net, example_inputs=x[:1], ratio=0.5, repair="none")
    chunks = [Inputs((part,)) for part in x.split(2)]
    small = rebuilt(result.model, {n: t.detach().clone() for n, t in all_tensors(result.model).items()})
    small.requires_grad_(False)
    with one_thread_each(CPU) as parallel:
        sweeping = Sweep(
            net, small, result.space, result.plan.keep, survey(small, chunks[0]).operations, parallel
        )
        rows = sweeping.run(chunks, [False, True] * 4)
    assert {row.reason for row in rows} == {"its output is that of the dense network already"}
    assert torch.equal(small[2].weight, result.model[2].weight)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_with_any_number_of_threads(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.manual_seed(0)
        found = sweep(convolutions(), torch.randn(32, 3, 12, 12, dtype=torch.float64), 4)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    bits = torch.cat([p.detach().flatten() for p in found.repaired.parameters()])
    _BITS.setdefault("first", bits)
    assert torch.equal(bits, _BITS["first"])


_BITS: dict[str, Tensor] = {}

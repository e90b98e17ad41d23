"""The sweep against ``torch.linalg.lstsq`` in float64 on activations that hooks stored, with a design matrix
that knows no patches: its columns are what the layer itself makes of every weight alone.
"""

from __future__ import annotations

import pytest
import torch
from repair_examples import CPU, by_lstsq, seen, sweep
from torch import Tensor, nn

import prunecli
from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling.axes import kept_indices
from prunecli.inputs import Inputs
from prunecli.repair.queries import AND_OF_LOGITS
from prunecli.repair.site import LEAST_SQUARES
from prunecli.repair.sums import OF_SUM
from prunecli.repair.survey import survey
from prunecli.repair.sweep import Sweep
from prunecli.repair.wide import MIXING
from prunecli.report.figures import OperationRow
from prunecli.running.chunks import one_thread_each


def convolutions() -> nn.Module:
    """Strides, borders, dilation, groups, transposed with and without; constants in biases and norms."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=(0, 1), groups=2), nn.Tanh(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(8, 6, (2, 3), groups=2, dilation=2, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 5, bias=False),
    )  # fmt: skip


def test_every_kind_of_convolution_equals_lstsq_on_stored_activations() -> None:
    torch.manual_seed(0)
    found = sweep(convolutions(), torch.randn(32, 3, 12, 12, dtype=torch.float64), 4)
    keep, space = found.result.plan.keep, found.result.space
    checked = 0
    for name, row in found.done.items():
        layer = name.removesuffix(".weight")
        module = found.repaired.get_submodule(layer)
        if row.method == "":
            continue
        assert row.method == LEAST_SQUARES
        assert row.ridge is not None
        x, _ = seen(found.repaired, layer, found.samples)
        _, y = seen(found.dense, layer, found.samples)
        dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
        kept = kept_indices(space.axes[name][dim], space.sizes, keep)
        if isinstance(module, nn.ConvTranspose2d) and module.groups > 1:
            kept = torch.cat([kept + group * 3 for group in range(module.groups)])
        after = found.repaired.get_parameter(name)
        constant = module.bias is not None or layer in ("2", "7")
        before = found.cut.get_parameter(name)
        wanted = by_lstsq(module, before, x, y[:, kept], row.ridge, constant)
        scale = float(wanted.abs().max())
        groups = getattr(module, "groups", 1)
        parts = zip(after.chunk(groups), wanted.chunk(groups), before.chunk(groups), strict=True)
        changed = [not torch.equal(part, old) for part, _, old in parts]
        assert sum(changed) >= groups / 2, name
        for index, (part, solved) in enumerate(zip(after.chunk(groups), wanted.chunk(groups), strict=True)):
            assert not changed[index] or float((part - solved).abs().max()) < 1e-6 * scale, name
        if constant and module.bias is not None:
            _, now = seen(found.repaired, layer, found.samples)
            rest = (y[:, kept] - now).movedim(1, -1).reshape(-1, len(kept)).mean(0)
            rest = rest.reshape(groups, -1)[torch.tensor(changed)]
            assert float(rest.abs().max()) < 1e-9 * float(y.abs().max())
        checked += 1
    assert checked >= 6


def test_the_output_comes_nearer_to_the_dense_one() -> None:
    torch.manual_seed(0)
    samples = torch.randn(48, 3, 12, 12, dtype=torch.float64)
    found = sweep(convolutions(), samples[:32], 4)
    with torch.no_grad():
        wanted, cut, repaired = (net(samples[32:]) for net in (found.dense, found.cut, found.repaired))
    assert float((repaired - wanted).norm()) < 0.7 * float((cut - wanted).norm())


class Residual(nn.Module):
    """A branch that ends in a batch norm, one with a layer scale, and one with a convolution beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 10, 3, padding=1)
        self.one, self.one_norm = nn.Conv2d(10, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10)
        self.two, self.gamma = nn.Linear(10, 10), nn.Parameter(torch.rand(10))
        self.three, self.short = nn.Conv2d(10, 12, 3, 2, 1), nn.Conv2d(10, 12, 1, 2)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.begins_two(x + self.one_norm(self.one(x)))
        x = self.begins_three(x + (self.two(x.permute(0, 2, 3, 1)) * self.gamma).permute(0, 3, 1, 2))
        return self.head((self.three(x) + self.short(x)).relu().mean((2, 3)))

    begins_two = begins_three = staticmethod(torch.tanh)


def test_the_end_of_a_branch_equals_lstsq_on_what_the_sum_lacks() -> None:
    torch.manual_seed(0)
    found = sweep(Residual(), torch.randn(32, 3, 8, 8, dtype=torch.float64), 4)
    keep, space = found.result.plan.keep, found.result.space
    dense, repaired = found.dense, found.repaired
    assert [found.done[f"{layer}.weight"].method for layer in ("one", "two", "three")] == [OF_SUM] * 3
    assert found.done["short.weight"].method == LEAST_SQUARES

    def stream(net: nn.Module, layer: str) -> Tensor:
        """What the output of ``layer`` is added to, ``[n, C, h, w]``."""
        if layer == "three":
            return seen(net, "short", found.samples)[1]
        x = seen(net, layer, found.samples)[0]
        return x if layer == "one" else x.movedim(-1, 1)

    for layer, scale in (("one", "norm"), ("two", "gamma"), ("three", "")):
        there, here = dense.get_submodule(layer), repaired.get_submodule(layer)
        x, _ = seen(repaired, layer, found.samples)
        _, made = seen(dense, "one_norm" if layer == "one" else layer, found.samples)
        if layer == "two":
            made = (made * dense.gamma).movedim(-1, 1)
        kept = kept_indices(space.axes[f"{layer}.weight"][0], space.sizes, keep)
        lacks = (made + stream(dense, layer))[:, kept] - stream(repaired, layer)
        if scale == "norm":
            norm = repaired.get_submodule("one_norm")
            lacks = lacks / (norm.weight * (norm.running_var + norm.eps).rsqrt())[:, None, None]
        if scale == "gamma":
            lacks = (lacks.movedim(1, -1) / repaired.gamma).movedim(-1, 1)
        row = found.done[f"{layer}.weight"]
        before = found.cut.get_parameter(f"{layer}.weight")
        assert row.ridge is not None
        assert isinstance(there, (nn.Conv2d, nn.Linear))
        target = lacks if layer != "two" else lacks.movedim(1, -1).flatten(0, -2)
        x = x if layer != "two" else x.flatten(0, -2)
        wanted = by_lstsq(here, before, x, target.detach(), row.ridge, True)
        assert float((here.weight - wanted).abs().max()) < 1e-6 * float(wanted.abs().max()), layer
    x, _ = seen(repaired, "head", found.samples)
    _, y = seen(dense, "head", found.samples)
    head = found.done["head.weight"]
    assert head.ridge is not None
    wanted = by_lstsq(repaired.head, found.cut.get_parameter("head.weight"), x, y, head.ridge, True)
    assert float((repaired.head.weight - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())


class Wide(nn.Module):
    """A product over a flattened image, a convolution: both wider than the limit that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 10, 3, padding=1)
        self.wide = nn.Conv2d(10, 8, 3, padding=1)
        self.flat = nn.Linear(8 * 16, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.wide(self.first(x).relu()).relu()
        return self.head(self.flat(nn.functional.adaptive_avg_pool2d(h, 4).flatten(1)).relu())


def test_wide_operations_mix_channels_and_are_no_worse() -> None:
    torch.manual_seed(0)
    found = sweep(Wide(), torch.randn(48, 3, 8, 8, dtype=torch.float64), 4, most_columns=40)
    assert found.done["wide.weight"].method == MIXING
    for row in (found.done["wide.weight"], found.done["flat.weight"]):
        assert row.method == MIXING
        assert row.before is not None
        assert row.after is not None
        assert row.after < row.before
    assert found.done["head.weight"].method == LEAST_SQUARES


class Twice(nn.Module):
    """One weight used at two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.shared(self.shared(self.first(x).relu()).relu()))


def test_a_weight_that_is_used_twice_equals_lstsq_on_both_uses() -> None:
    torch.manual_seed(0)
    found = sweep(Twice(), torch.randn(80, 6, dtype=torch.float64), 5)
    rows, shared = found.done, found.repaired.shared
    assert rows["first.weight"].reason == "its output is that of the dense network already"
    row = rows["shared.weight"]
    assert row.method == LEAST_SQUARES and row.ridge is not None
    kept = kept_indices(
        found.result.space.axes["shared.weight"][0], found.result.space.sizes, found.result.plan.keep
    )
    before = rebuilt(
        found.repaired,
        dict(all_tensors(found.repaired))
        | {name: found.cut.get_parameter(name).detach() for name in ("shared.weight", "shared.bias")},
    )
    x, _ = seen(before, "shared", found.samples)
    _, y = seen(found.dense, "shared", found.samples)
    assert len(x) == 160
    wanted = by_lstsq(shared, found.cut.shared.weight, x, y[:, kept], row.ridge, True)
    assert float((shared.weight - wanted).abs().max()) < 1e-6 * float(wanted.abs().max())
    rest = (y[:, kept] - (x @ wanted.T)).mean(0)
    assert torch.allclose(shared.bias, rest, atol=1e-6)
    assert rows["last.weight"].method == LEAST_SQUARES


def test_a_weight_that_another_sweep_has_solved_is_not_touched() -> None:
    torch.manual_seed(0)
    solved = {("shared.weight", 0): OperationRow("shared.weight", LEAST_SQUARES, None, 0.1, 2.0, 1.0)}
    found = sweep(Twice(), torch.randn(80, 6, dtype=torch.float64), 5, solved=solved)
    assert found.done["shared.weight"] is solved["shared.weight", 0]
    assert torch.equal(found.repaired.shared.weight, found.cut.shared.weight)
    assert found.done["last.weight"].method == LEAST_SQUARES


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

from __future__ import annotations

import copy

import pytest
import torch
from repair_examples import by_lstsq, seen
from torch import nn

import prunecli
from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling.axes import kept_indices
from prunecli.data import Batch, Samples
from prunecli.errors import InputError
from prunecli.inputs import Inputs
from prunecli.repair import Budget, Repair
from prunecli.repair.engine import BOTH, CUT, LEAST_SQUARES, STATISTICS

CPU = torch.device("cpu")


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
    ).eval()  # fmt: skip


def repair(dense: nn.Module, x: torch.Tensor, dtype: torch.dtype = torch.float32) -> Repair:
    dense = dense.to(dtype)
    result = prunecli.prune(
        dense, example_inputs=x[:1].to(dtype), ratio=0.5, tolerance=0.9, repair="none", scheme="local"
    )
    samples = Samples((Batch(Inputs((x,))),), "x")
    return Repair(dense, result.model, result.space, result.plan.keep, samples, CPU, Budget(len(x)))


def test_the_nearest_candidate_is_taken_and_nothing_else_is_touched() -> None:
    work = repair(net(), torch.randn(64, 3, 8, 8))
    before = [{n: t.clone() for n, t in all_tensors(m).items()} for m in (work.dense, work.pruned)]
    found = work.run("lstsq")
    assert set(found.errors) == {CUT, STATISTICS, LEAST_SQUARES, BOTH}
    assert found.errors[found.chosen] == min(found.errors.values()) < 0.7 * found.errors[CUT]
    assert found.samples == 64
    for module, tensors in zip((work.dense, work.pruned), before, strict=True):
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in all_tensors(module).items())
    x = torch.randn(64, 3, 8, 8)
    with torch.no_grad():
        wanted, cut, better = (m(x) for m in (work.dense, work.pruned, rebuilt(work.pruned, found.tensors)))
    assert float((better - wanted).norm()) < 0.7 * float((cut - wanted).norm())


class Pyramid(nn.Module):
    """The same head at two levels, and something of its own behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 16), nn.Linear(16, 16)
        self.between, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.head(self.stem(x).relu()).relu()
        return self.last(self.head(self.between(h).tanh()).tanh())


def test_what_lies_between_two_uses_of_a_weight_is_solved_for_its_new_values() -> None:
    torch.manual_seed(0)
    x = torch.randn(96, 6)
    work = repair(Pyramid().eval(), x)
    found = work.run("lstsq")
    assert found.chosen == LEAST_SQUARES
    done = {row.weight: row for row in found.operations}
    assert [row.weight for row in found.operations].count("head.weight") == 1
    small = rebuilt(work.pruned, found.tensors)
    fitted = x[:84]
    for layer in ("between", "last"):
        row = done[f"{layer}.weight"]
        assert row.ridge is not None
        (given, _), (_, y) = seen(small, layer, [fitted]), seen(work.dense, layer, [fitted])
        kept = kept_indices(work.space.axes[f"{layer}.weight"][0], work.space.sizes, work.keep)
        before = work.pruned.get_parameter(f"{layer}.weight").detach().double()
        alone = copy.deepcopy(small.get_submodule(layer)).double()
        wanted = by_lstsq(alone, before, given.double(), y[:, kept].double(), row.ridge, True)
        left = float((small.get_parameter(f"{layer}.weight").detach() - wanted).norm())
        assert left < 1e-3 * float((wanted - before).norm()), layer


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(6, 16), nn.Linear(48, 5)
        self.rnn = kind(16, 24, num_layers=2, bidirectional=True, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.stem(x))[0].mean(1))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_solved_for_all_their_steps(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    x = torch.randn(144, 9, 6)
    work = repair(Recurrent(kind).eval(), x[:96])
    found = work.run("lstsq")
    assert found.chosen == LEAST_SQUARES
    done = {row.weight: row for row in found.operations}
    weights = [name for name, _ in work.pruned.named_parameters() if name.startswith("rnn.weight")]
    assert len(weights) == 8
    assert {done[name].method for name in weights} == {"least squares"}
    with torch.no_grad():
        small = rebuilt(work.pruned, found.tensors)
        wanted, cut, better = (module(x[96:]) for module in (work.dense, work.pruned, small))
    assert float((better - wanted).norm()) < 0.5 * float((cut - wanted).norm())
    assert torch.backends.mkldnn.enabled and torch.backends.cudnn.enabled


def test_statistics_alone() -> None:
    found = repair(net(), torch.randn(64, 3, 8, 8)).run("bn")
    assert set(found.errors) == {CUT, STATISTICS}
    assert found.operations == ()


def test_half_precision_comes_out_in_half_precision() -> None:
    found = repair(net(), torch.randn(64, 3, 8, 8), torch.bfloat16).run("lstsq")
    assert found.chosen != CUT
    assert {t.dtype for t in found.tensors.values() if t.is_floating_point()} == {torch.bfloat16}


def test_outputs_that_are_not_numbers_are_refused() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = self.inner(x)
            return scores if x.shape[0] == 1 else scores.clamp(max=-1).sqrt()

    work = repair(Broken().eval(), torch.zeros(64, 3, 8, 8))
    with pytest.raises(InputError, match="NaN on the calibration inputs"):
        work.run("lstsq")

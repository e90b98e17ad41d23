from __future__ import annotations

import torch
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.repair.operations import Constant
from prunecli.repair.survey import survey


class Ways(nn.Module):
    """Constants in a bias, in a bias that is added apart, in a norm, and nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.plain = nn.Conv2d(4, 4, 1)
        self.apart = nn.Linear(4, 6)
        self.none = nn.Linear(6, 6, bias=False)
        self.packed = nn.Parameter(torch.randn(5, 12))

    def forward(self, x: Tensor) -> Tensor:
        h = self.plain(self.norm(self.conv(x)).relu()).flatten(2).transpose(1, 2)
        h = self.none(self.apart(h).relu())
        left, right = self.packed.t().chunk(2)
        return h @ left + h @ right


def test_operations_in_order_and_where_a_constant_can_go() -> None:
    found = survey(Ways().eval(), Inputs((torch.randn(1, 3, 5, 5),))).operations
    assert [(op.kind, op.name) for op in found] == [
        ("convolution", "conv.weight"), ("norm", "norm.running_mean"), ("convolution", "plain.weight"),
        ("product", "apart.weight"), ("product", "none.weight"), ("product", "packed"), ("product", "packed"),
        ("sum", "packed"),
    ]  # fmt: skip
    assert [op.constant for op in found] == [
        Constant("norm.running_mean", 0, 4, -1), None, Constant("plain.bias", 0, 4),
        Constant("apart.bias", 0, 6), None, None, None, None,
    ]  # fmt: skip
    assert [op.columns for op in found] == [27, 1, 4, 4, 6, 6, 6, 6]
    assert all(op.reason is None for op in found)


class Odd(nn.Module):
    """A weight made in forward, one that is a table too, and what is chosen by value."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Conv1d(4, 4, 3)
        self.table = nn.Embedding(10, 4)
        self.after = nn.Linear(10, 2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.table(ids)
        h = nn.functional.conv1d(x.mT, self.raw.weight * 2, padding=1).mT
        scores = h @ self.table.weight.T
        best = scores.sum(2).topk(2, dim=1).indices
        return self.after(scores.gather(1, best.unsqueeze(2).expand(-1, -1, 10)))


def test_what_is_left_has_its_reason() -> None:
    found = survey(Odd().eval(), Inputs((torch.arange(6).view(1, 6),))).operations
    assert [op.reason for op in found] == [
        "its weight is computed in forward",
        "its weight is used by embedding too",
        "it sees what was chosen by value, which is something else in the cut network",
    ]


class Again(nn.Module):
    """A pyramid of two levels whose heads are the same; one weight that is used in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.own = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(6)])
        self.tower, self.both = nn.Conv2d(6, 6, 1, bias=False), nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        levels = [x, nn.functional.avg_pool2d(x, 2)]
        levels = [self.norm(self.head(level)).relu() for level in levels]
        levels = [own(self.tower(level)) for own, level in zip(self.own, levels, strict=True)]
        h = torch.stack([level.mean((2, 3)) for level in levels]).sum(0)
        return h @ self.both + h @ self.both.T


def test_weights_that_are_used_several_times() -> None:
    found = survey(Again().eval(), Inputs((torch.randn(1, 4, 4, 4),)))
    by_name = {op.name: op for op in found.operations}
    head, tower, both = (by_name[name] for name in ("head.weight", "tower.weight", "both"))
    assert (head.uses, head.reason, head.constant) == (2, None, Constant("norm.running_mean", 0, 6, -1))
    assert (tower.uses, tower.reason, tower.constant) == (2, None, None)
    assert both.reason == "its weight is used 2 times in one run, and not alike"
    assert (found.sweeps(36), found.sweeps(5)) == (2, 1)
    assert survey(Ways().eval(), Inputs((torch.randn(1, 3, 5, 5),))).sweeps(2304) == 1


def test_bytes_are_those_of_live_activations() -> None:
    """Two images of a megabyte at a time, not the sum of all that was made."""
    net = nn.Sequential(*(nn.ReLU() for _ in range(20)), nn.Flatten(), nn.Linear(1 << 18, 1))
    found = survey(net.eval(), Inputs((torch.randn(1, 1 << 18),)))
    assert 1 << 20 <= found.bytes <= 3 << 20

from __future__ import annotations

import torch
from torch import nn

from prunecli.inputs import Inputs
from prunecli.repair.operations import Survey
from prunecli.repair.survey import survey


class Branch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.one(x)
        return self.head(x + self.two(x.relu()))


def found() -> Survey:
    return survey(Branch().eval(), Inputs((torch.randn(1, 4),)))


def test_stops_can_be_left_out() -> None:
    whole = found()
    assert whole.summed == {1}
    assert whole.without("logits") == whole
    left = whole.without("sum")
    assert [op.kind for op in left.operations] == [op.kind for op in whole.operations if op.kind != "sum"]
    assert [op.index for op in left.operations] == [0, 1, 2]
    assert left.summed == set()
    assert not any(op.summed for op in left.operations)

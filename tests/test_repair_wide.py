from __future__ import annotations

import torch
from repair_examples import sweep
from torch import Tensor, nn

from prunecli.repair.site import LEAST_SQUARES
from prunecli.repair.wide import MIXING


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

from __future__ import annotations

import torch
from repair_examples import by_lstsq, seen, sweep
from torch import Tensor, nn

from prunecli.coupling.axes import kept_indices
from prunecli.repair.site import LEAST_SQUARES
from prunecli.repair.sums import OF_SUM


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

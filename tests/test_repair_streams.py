"""Which sums end a branch, and what its output was multiplied by on the way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.repair.streams import Branches, Sum
from prunecli.running.calls import Parameters, recognise


class Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, net: nn.Module, wanted: frozenset[int] | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = Parameters(net)
        self.branches = Branches(self.known, wanted)
        self.sums: list[Sum] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        call = recognise(func, args, kwargs or {}, self.known)
        self.sums += self.branches.follow(func, args, kwargs or {}, out, call)
        return out


def sums(net: nn.Module, x: Tensor, wanted: frozenset[int] | None = None) -> list[Sum]:
    with torch.no_grad(), Watched(net.eval(), wanted) as watched:
        net(x)
    return [found for found in watched.sums if found.branch.uses.alone]


class Block(nn.Module):
    """A residual block with a batch norm and a layer scale; ``variant`` changes what comes behind."""

    def __init__(self, variant: str = "plain") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.gamma = nn.Parameter(torch.tensor([0.5, -2.0, 3.0, 0.1]))
        self.variant = variant
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.uniform_(self.norm.weight, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        y = self.norm(self.conv(x)) * self.gamma.view(1, -1, 1, 1)
        match self.variant:
            case "in place":
                y += x
                return y
            case "seen twice":
                return x + y + y.mean()
            case "with itself":
                return y + y
            case "alpha":
                return torch.add(x, y, alpha=2)
            case "one channel":
                return y + x[:, :1]
            case "rectified":
                return x + y.relu()
            case "input changed":
                return x.add_(1) + y
            case "moved":
                return x.permute(0, 2, 3, 1) + y.permute(0, 2, 3, 1)
            case "turned":
                return x.transpose(2, 3) + y.transpose(2, 3)
        return x + y


@pytest.mark.parametrize("variant", ["plain", "in place", "moved"])
def test_what_a_branch_was_multiplied_by(variant: str) -> None:
    net = Block(variant)
    x = torch.randn(2, 3, 5, 5)
    (found,) = sums(net, x)
    assert (found.branch.ordinal, found.branch.call.name) == (1, "conv.weight")
    call = found.call()
    with torch.no_grad():
        stream = net.stem(x).relu()
        plain = net.conv(stream)
        constant = net.norm(plain) * net.gamma.view(1, -1, 1, 1) - plain * call.weight.view(1, -1, 1, 1)
        assert constant.std((0, 2, 3)).max() < 1e-5
        total = stream + net.norm(plain) * net.gamma.view(1, -1, 1, 1)
    assert torch.equal(call.x, total.movedim(1, -1))


@pytest.mark.parametrize(
    "variant",
    ["seen twice", "with itself", "alpha", "one channel", "rectified", "input changed", "turned"],
)
def test_sums_that_say_too_little(variant: str) -> None:
    assert sums(Block(variant), torch.randn(2, 3, 5, 5)) == []


class Tokens(nn.Module):
    """Products on tokens, and the channels-last branch of a ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 6)
        self.gamma = nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.5
        x = x + 0.5 * self.second(self.first(x).relu())
        image = x.transpose(1, 2).reshape(x.shape[0], 6, 2, 3)
        y = self.gamma * self.second(self.first(image.permute(0, 2, 3, 1)).relu())
        return image + y.permute(0, 3, 1, 2)


def test_tokens_and_channels_that_move() -> None:
    net = Tokens()
    first, second = sums(net, torch.randn(4, 6, 6))
    assert [found.branch.ordinal for found in (first, second)] == [1, 3]
    assert torch.allclose(first.call().weight, torch.full((6,), 0.5))
    assert torch.equal(second.call().weight, net.gamma)
    assert second.rows.shape == (4, 2, 3, 6)
    assert [found.branch.ordinal for found in sums(net, torch.randn(4, 6, 6), frozenset({3}))] == [3]


def test_both_ends_of_a_sum() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.short = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.main(x) + self.short(x)

    assert [found.branch.call.name for found in sums(Shortcut(), torch.randn(2, 3, 5, 5))] == [
        "main.weight", "short.weight",
    ]  # fmt: skip


def test_an_output_that_becomes_a_number_of_python() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * self.gate(x).item()

    assert sums(Gated(), torch.randn(1, 3)) == []

"""What the shadow calls constant must not change with the input, and what changes it must not call so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.dead.readings import read
from prunecli.inputs import Inputs


class Through(nn.Module):
    """Six features of which two are constants (0 and 0.5), through ``function`` to a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)
        self.function = function
        with torch.no_grad():
            self.first.weight[[1, 4]] = 0
            self.first.bias[[1, 4]] = torch.tensor([0.0, 0.5])

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


def placed(x: Tensor) -> Tensor:
    out = torch.zeros(x.shape, dtype=x.dtype)
    out[:, :6] = x
    return out.mul_(2)


def in_place(x: Tensor) -> Tensor:
    return x.clone().relu_().add_(1)


CONSTANT = [False, True, False, False, True, False]
CASES: dict[str, tuple[Callable[[Tensor], Tensor], list[bool]]] = {
    "relu": (functional.relu, CONSTANT),
    "gelu": (functional.gelu, CONSTANT),
    "hardswish": (functional.hardswish, CONSTANT),
    "softplus": (functional.softplus, CONSTANT),
    "softshrink": (lambda x: functional.softshrink(x, 0.1), CONSTANT),
    "in place": (in_place, CONSTANT),
    "put into zeros": (placed, CONSTANT),
    "side by side": (lambda x: torch.cat([x[:, :3], x[:, 3:] * 2], 1), CONSTANT),
    "leaky by hand": (lambda x: torch.where(x > 0, x, 0.1 * x), [False] * 6),
    "step": (lambda x: (x > 0).to(x.dtype), [False] * 6),
    "sign": (torch.sign, CONSTANT),
    "gate": (lambda x: x * x.sum(1, keepdim=True), [False, True, False, False, False, False]),
    "softmax": (lambda x: x.softmax(1), [False] * 6),
    "chosen": (lambda x: x[:, x.argmax(1)].expand(-1, 6), [False] * 6),
    "by a number": (lambda x: x * x[0, 0].item(), [False] * 6),
    "order": (lambda x: x.sort(1).values, [False] * 6),
    "counted": (lambda x: x + (x > 0).sum(1, keepdim=True), [False] * 6),
}


@pytest.mark.parametrize("name", CASES)
def test_one_function(name: str) -> None:
    function, constant = CASES[name]
    torch.manual_seed(0)
    net = Through(function).eval()
    reading = read(net, Inputs((torch.randn(1, 4),))).of["last.weight"][0]
    found = ~reading.arrives[0].isnan()
    with torch.no_grad():
        values = torch.cat([function(net.first(torch.randn(1, 4))) for _ in range(64)]).double()
    varies = values.std(0) > 1e-9
    assert not bool((found & varies).any()), "what changes is no constant"
    if name != "sign":
        assert found.tolist() == constant
    assert torch.allclose(reading.arrives[0][found], values[0, found], atol=1e-6)


def test_attention_leaves_a_constant_value_alike() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made, self.last = nn.Linear(4, 12), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.made(x).reshape(1, -1, 3, 2, 2).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(q, k, v)
            return self.last(mixed.transpose(1, 2).flatten(2))

    net = Mixed().eval()
    with torch.no_grad():
        net.made.weight[[9, 10]] = 0
        net.made.bias[[9, 10]] = torch.tensor([0.25, 0.0])
    reading = read(net, Inputs((torch.randn(1, 5, 4),))).of["last.weight"][0]
    assert torch.equal(reading.arrives[0].isnan(), torch.tensor([True, False, False, True]))
    assert torch.allclose(reading.arrives[0][1:3], torch.tensor([0.25, 0.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("layer", "size", "uneven"),
    [
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), 8, True),
        (nn.Conv2d(2, 2, 3, padding=1, groups=2), 1, True),
        (nn.Conv2d(2, 2, 3, groups=2), 8, False),
        (nn.ZeroPad2d(1), 8, True),
        (nn.ReflectionPad2d(1), 8, False),
        (nn.AvgPool2d(3, 1, 1), 8, True),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), 8, False),
        (nn.MaxPool2d(3, 1, 1), 8, False),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 8, False),
        (nn.ConvTranspose2d(2, 2, 3, 2, groups=2), 8, True),
        (nn.ConvTranspose2d(2, 2, 1, groups=2), 8, False),
    ],
)
def test_the_border_of_pictures(layer: nn.Module, size: int, uneven: bool) -> None:
    """A constant that is not the same at the border does not depend on the input, but is not one number."""
    net = nn.Sequential(nn.Conv2d(3, 2, 1), layer, nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        net[0].weight[0] = 0
        net[0].bias[0] = 0.5
    reading = read(net, Inputs((torch.randn(1, 3, size, size),))).of["2.weight"][0]
    assert reading.dead[0].tolist() == [True, False]
    assert reading.arrives[0].isnan().tolist() == [uneven, True]

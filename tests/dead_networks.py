"""Networks with units zeroed by hand, so that how many can go is known without the code under test."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGE = torch.zeros(1, 3, 12, 12)
TOKENS = torch.zeros(1, 5, 8)


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, biases and statistics of norms included."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in net.parameters():
        tensor.data = torch.randn(tensor.shape, generator=generator) / max(1, tensor[0].numel()) ** 0.5
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = torch.rand(module.weight.shape, generator=generator) + 0.5
            module.running_mean = torch.randn(module.running_mean.shape, generator=generator)
            module.running_var = torch.rand(module.running_var.shape, generator=generator) + 0.5
    return net.eval()


def zero(layer: nn.Module, units: list[int], bias: float | None = None) -> None:
    """Rows of zeros; the bias of them, if any, becomes ``bias``."""
    layer.weight.data[units] = 0
    if bias is not None:
        layer.bias.data[units] = bias


class Block(nn.Module):
    """A residual stream of 6 channels: two producers, two consumers without padding."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 1)
        self.last = nn.Conv2d(6, 4, 3)
        self.head = nn.Linear(4, 2)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = x + self.second(self.act(self.norm(self.inner(x))))
        return self.head(self.act(self.last(x)).mean((2, 3)))


class Dense(nn.Module):
    """Two layers whose outputs are laid beside their input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(4 + 5 * i) for i in range(2)])
        self.layers = nn.ModuleList([nn.Conv2d(4 + 5 * i, 5, 1, bias=False) for i in range(2)])
        self.last = nn.BatchNorm2d(14)
        self.head = nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = torch.cat([x, layer(norm(x).relu())], 1)
        return self.head(self.last(x).relu().mean((2, 3)))


class Depthwise(nn.Module):
    """An inverted residual with a gate, and a convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 8, 1)
        self.each = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze = nn.Linear(8, 3)
        self.excite = nn.Linear(3, 8)
        self.project = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 6, 3, groups=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.each(self.expand(x).relu()).relu()
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        x = self.project(x * gate[:, :, None, None]).relu()
        return self.head(self.grouped(x).relu().mean((2, 3)))


class Attention(nn.Module):
    """Two heads of 4 query and key features each and 3 values, scaled by a number of its own; an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8)
        self.v = nn.Linear(8, 6)
        self.out = nn.Linear(6, 8)
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 10), nn.Linear(10, 8)
        self.head = nn.Linear(8, 2)
        self.heads, self.scale = 2, 0.5

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (made(x).reshape(b, n, self.heads, -1).transpose(1, 2) for made in (self.q, self.k, self.v))
        mixed = (q @ k.transpose(-2, -1) * self.scale).softmax(-1) @ v
        x = x + self.out(mixed.transpose(1, 2).reshape(b, n, -1))
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))
        return self.head(x.mean(1))

"""A transformer with an operator of its own in each layer, which no rule knows: ``build`` is a factory."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

LAYERS = 8
INPUT = (2, 5, 12)
NAMES = [f"exotic_{layer}" for layer in range(LAYERS)]


def _register(name: str, scale: float) -> torch.library.CustomOpDef:
    def double(x: Tensor) -> Tensor:
        return (x * scale).flip(-1)

    operator = torch.library.custom_op(f"prunecli_exotic::{name}", double, mutates_args=())
    operator.register_fake(torch.empty_like)
    return operator


OPERATORS = [_register(name, 1.0 + 0.1 * layer) for layer, name in enumerate(NAMES)]


class Block(nn.Module):
    """Attention, a hidden layer, and beside it a bottleneck through the unknown operator."""

    def __init__(self, layer: int, width: int, heads: int) -> None:
        super().__init__()
        self.layer, self.num_heads = layer, heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.before, self.after = nn.Linear(width, 6), nn.Linear(6, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv, scale=0.5)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))
        x = x + self.down(F.gelu(self.up(x)))
        return x + self.after(OPERATORS[self.layer](self.before(x)))


class Exotic(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUT[-1], width)
        self.layers = nn.ModuleList(Block(layer, width, heads) for layer in range(LAYERS))
        self.head = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def build(width: int = 16, heads: int = 4) -> Exotic:
    torch.manual_seed(0)
    return Exotic(width, heads).eval()

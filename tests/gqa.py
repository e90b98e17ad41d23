"""A small transformer with grouped-query attention: ``build`` is a factory for ``--arch``.

Letters: ``w`` width, ``q`` query heads, ``kv`` key heads, ``d`` size of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

INPUT = (1, 9, 12)


class Attention(nn.Module):
    def __init__(self, w: int, q: int, kv: int, d: int) -> None:
        super().__init__()
        self.head_dim = d
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(w, q * d),
            nn.Linear(w, kv * d),
            nn.Linear(w, kv * d),
        )
        self.o_proj = nn.Linear(q * d, w)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, w: int, q: int, kv: int, d: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(w), Attention(w, q, kv, d)
        self.norm2, self.up, self.down = nn.LayerNorm(w), nn.Linear(w, 4 * w), nn.Linear(4 * w, w)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, layers: int, w: int, q: int, kv: int, d: int) -> None:
        super().__init__()
        self.embed = nn.Linear(INPUT[-1], w)
        self.layers = nn.ModuleList(Block(w, q, kv, d) for _ in range(layers))
        self.head = nn.Linear(w, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


def build(layers: int = 2, w: int = 16, q: int = 8, kv: int = 4, d: int = 6) -> Transformer:
    torch.manual_seed(0)
    return Transformer(layers, w, q, kv, d).eval()


def attention_parameters(w: int, q: int, kv: int, d: int) -> int:
    """Elements of one attention layer's weights and biases."""
    return (q + 2 * kv) * d * (w + 1) + (q * d + 1) * w


class TiedHeads(nn.Module):
    """Attention that views its own width as heads x size, as most vision transformers do."""

    def __init__(self, heads: int = 4, size: int = 6) -> None:
        super().__init__()
        self.num_heads = heads
        self.stem, self.qkv = nn.Linear(6, heads * size), nn.Linear(heads * size, 3 * heads * size)
        self.out, self.last = nn.Linear(heads * size, heads * size), nn.Linear(heads * size, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = self.qkv(x).reshape(shape).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2)
        return self.last(x + self.out(mixed.reshape(batch, tokens, width)))

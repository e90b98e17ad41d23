"""Small networks with attention, one for every way in which queries come to the logits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.assembly import without_fast_path

HEADS = 3


def split(x: Tensor, heads: int = HEADS) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Tokens ``[n, L, 5]`` to 4 numbers; ``way`` says how heads of 8 features attend."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        width = HEADS * 8
        self.stem = nn.Linear(5, 20)
        if way.startswith("multihead"):
            self.many = nn.MultiheadAttention(width, HEADS, batch_first=True)
            self.stem = nn.Linear(5, width)
        elif way in ("separate", "separate without bias", *SPECIAL):
            bias = way != "separate without bias"
            keys = 8 if way == "grouped" else width
            self.q, self.k = nn.Linear(20, width, bias=bias), nn.Linear(20, keys, bias=bias)
            self.v = nn.Linear(20, keys)
        elif way == "convolution":
            self.qkv = nn.Conv1d(20, 3 * width, 1)
        else:
            self.qkv = nn.Linear(20, 3 * width)
        if way == "normed queries":
            self.norm = nn.LayerNorm(8)
        if way == "shifted queries":
            self.shift = nn.Parameter(torch.randn(width))
        self.proj = nn.Linear(width, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x).tanh()
        if self.way.startswith("multihead"):
            mask = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype) if "mask" in self.way else None
            y = self.many(x, x, x, need_weights="weights" in self.way, attn_mask=mask)[0]
            return self.head(self.proj(y).tanh().mean(1))
        if hasattr(self, "q"):
            y = self.separate(x)
        elif self.way == "convolution":
            q, k, v = self.qkv(x.mT).unflatten(1, (HEADS, -1)).chunk(3, 2)
            y = joined(F.scaled_dot_product_attention(q.mT, k.mT, v.mT))
        else:
            y = self.fused(x)
        out = self.head(self.proj(y).tanh().mean(1))
        return (out, self.seen) if self.way == "returned queries" else out

    def fused(self, x: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        if self.way == "constant scale":
            return joined((q * 0.2).matmul(k.transpose(-2, -1)).softmax(-1).matmul(v))
        if self.way == "scaled in place":
            q *= 0.2
            return joined((q @ k.mT).softmax(-1) @ v)
        if self.way == "three dimensions":
            q, k, v = (part.flatten(0, 1) for part in (q, k, v))
            y = torch.bmm((q @ k.mT / 3).softmax(-1), v)
            return joined(y.unflatten(0, (n, HEADS)))
        return joined(F.scaled_dot_product_attention(q, k, v))

    def separate(self, x: Tensor) -> Tensor:
        asking = x[:1] if self.way == "one sample's queries" else x
        q, k, v = self.q(asking), self.k(x), self.v(x)
        if self.way == "grouped":
            k, v = (split(part, 1).expand(-1, HEADS, -1, -1) for part in (k, v))
            return joined(F.scaled_dot_product_attention(split(q), k, v))
        if self.way == "shifted queries":
            q = q + self.shift
        elif self.way == "gated queries":
            q = q * x.mean((1, 2), keepdim=True)
        elif self.way == "one sample's queries":
            q = q.expand(len(x), -1, -1)
        elif self.way == "rectified in a batch" and len(x) > 1:
            q = q.relu()
        q, k, v = split(q), split(k), split(v)
        bias = None
        if self.way == "rotated":
            q, k = turned(q), turned(k)
        elif self.way == "normed queries":
            q = self.norm(q)
        elif self.way == "queries seen twice":
            bias = q.mean(-1, keepdim=True) * torch.linspace(-1, 1, q.shape[2], dtype=q.dtype)
        elif self.way == "returned queries":
            self.seen = q
        elif self.way == "position bias":
            bias = torch.linspace(-1, 1, q.shape[2], dtype=q.dtype).expand(q.shape[2], -1)
        return joined(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=0.3))


SPECIAL = (
    "grouped", "rotated", "normed queries", "queries seen twice", "returned queries", "shifted queries",
    "position bias", "gated queries", "one sample's queries",
    "rectified in a batch",
)  # fmt: skip
FOLLOWED = (
    "fused", "convolution", "constant scale", "scaled in place", "three dimensions", "separate",
    "separate without bias", "grouped", "position bias", "multihead", "multihead with weights",
    "multihead with mask and weights",
)  # fmt: skip
LEFT = (
    "rotated",
    "normed queries",
    "queries seen twice",
    "returned queries",
    "shifted queries",
    "gated queries",
)
LEFT_IN_A_BATCH = ("one sample's queries", "rectified in a batch")
"""As good as any where there is one sample only."""


def turned(x: Tensor) -> Tensor:
    """By angles that grow with the position; pairs lie half a head apart."""
    left, right = x.chunk(2, -1)
    angle = torch.arange(x.shape[2], dtype=x.dtype)[:, None] * 0.3
    return torch.cat([left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()], -1)


class _Operands(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, blocks: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.blocks = blocks
        self.found: tuple[Tensor, Tensor, float] | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if self.found is None and name == "bmm" and len(args[0]) == self.blocks:
            self.found = (args[0].clone(), args[1].mT.clone(), 1.0)
        if self.found is None and name == "baddbmm":
            self.found = (args[1].clone(), args[2].mT.clone(), 1.0)
        if self.found is None and name == "_scaled_dot_product_flash_attention_for_cpu":
            scale = kwargs.get("scale") or args[0].shape[-1] ** -0.5
            self.found = (args[0].flatten(0, 1).clone(), args[1].flatten(0, 1).clone(), scale)
        return func(*args, **kwargs)


def operands(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Queries ``[n * heads, L, d]``, keys ``[n * heads, L, d]`` and their scale, as the first attention of
    ``net`` gets them.
    """
    with torch.no_grad(), without_fast_path(), _Operands(HEADS * len(x)) as mode:
        net(x)
    assert mode.found is not None
    return mode.found


def logits(net: nn.Module, x: Tensor) -> Tensor:
    """``[n * heads, L, L]`` of the first attention of ``net``."""
    q, k, scale = operands(net, x)
    return q @ k.mT * scale

"""Results of the commonest operators on the meta device, without asking torch's own meta kernels.

Some of those are Python decompositions that cost more than the rest of a trace together. A shortcut returns
what the operator would (shape and type), or None where it has to be asked after all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Shortcut = Callable[[tuple[Any, ...]], Any]


def _batch_norm(args: tuple[Any, ...]) -> Any:
    x = args[0]
    channels = x.shape[1] if args[5] else 0
    statistics = torch.empty(channels, device="meta")
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), statistics, statistics


def _convolution(args: tuple[Any, ...]) -> Tensor | None:
    x, weight, _, stride, padding, dilation, transposed = args[:7]
    if transposed or x.dim() != weight.dim():
        return None
    count = x.dim() - 2
    sizes = []
    for dim in range(count):
        s, p, d = (values[dim if len(values) > 1 else 0] for values in (stride, padding, dilation))
        sizes.append((x.shape[dim + 2] + 2 * p - d * (weight.shape[dim + 2] - 1) - 1) // s + 1)
    if min(sizes) < 1 or x.shape[1] != weight.shape[1] * args[8]:
        return None
    return torch.empty((x.shape[0], weight.shape[0], *sizes), dtype=x.dtype, device="meta")


def _in_place(args: tuple[Any, ...]) -> Tensor | None:
    others = [arg for arg in args[1:] if isinstance(arg, Tensor)]
    target: Tensor = args[0]
    return target if all(other.shape == target.shape for other in others) else None


def _unary(args: tuple[Any, ...]) -> Tensor:
    x: Tensor = args[0]
    return torch.empty(x.shape, dtype=x.dtype, device="meta")


def _binary(args: tuple[Any, ...]) -> Tensor | None:
    a, b = args[0], args[1]
    if isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype:
        return torch.empty(a.shape, dtype=a.dtype, device="meta")
    return None


def _addmm(args: tuple[Any, ...]) -> Tensor | None:
    bias, a, b = args[:3]
    if a.dim() != 2 or a.shape[1] != b.shape[0] or bias.shape != (b.shape[1],):
        return None
    return torch.empty((a.shape[0], b.shape[1]), dtype=a.dtype, device="meta")


def _cat(args: tuple[Any, ...]) -> Tensor | None:
    tensors = args[0]
    first = tensors[0]
    dim = (args[1] if len(args) > 1 else 0) % max(1, first.dim())
    if any(t.dim() != first.dim() or t.dtype != first.dtype for t in tensors):
        return None
    shape = list(first.shape)
    shape[dim] = sum(t.shape[dim] for t in tensors)
    if any(
        t.shape[:dim] != first.shape[:dim] or t.shape[dim + 1 :] != first.shape[dim + 1 :] for t in tensors
    ):
        return None
    return torch.empty(shape, dtype=first.dtype, device="meta")


def _mean(args: tuple[Any, ...]) -> Tensor | None:
    x, dims = args[0], args[1]
    if dims is None or not dims or not x.is_floating_point():
        return None
    reduced = {dim % x.dim() for dim in dims}
    keep = len(args) > 2 and args[2]
    shape = [1 if d in reduced else size for d, size in enumerate(x.shape) if keep or d not in reduced]
    return torch.empty(shape, dtype=x.dtype, device="meta")


def _layer_norm(args: tuple[Any, ...]) -> Any:
    x = args[0]
    statistics = torch.empty(0, device="meta")
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), statistics, statistics


SHORTCUTS: dict[Any, Shortcut] = {
    torch.ops.aten.native_batch_norm.default: _batch_norm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.convolution.default: _convolution,
    torch.ops.aten.addmm.default: _addmm,
    torch.ops.aten.cat.default: _cat,
    torch.ops.aten.mean.dim: _mean,
    torch.ops.aten.add.Tensor: _binary,
    torch.ops.aten.mul.Tensor: _binary,
    **dict.fromkeys(
        (
            torch.ops.aten.add_.Tensor,
            torch.ops.aten.mul_.Tensor,
            torch.ops.aten.relu_.default,
            torch.ops.aten.silu_.default,
            torch.ops.aten.hardswish_.default,
            torch.ops.aten.hardtanh_.default,
        ),
        _in_place,
    ),
    **dict.fromkeys(
        (
            torch.ops.aten.relu.default,
            torch.ops.aten.silu.default,
            torch.ops.aten.gelu.default,
            torch.ops.aten.sigmoid.default,
            torch.ops.aten.hardsigmoid.default,
            torch.ops.aten.hardswish.default,
            torch.ops.aten.hardtanh.default,
            torch.ops.aten.alias.default,
        ),
        _unary,
    ),
}
"""By operator overload. Each must give the shape and type that torch's own kernel gives."""

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

WITHOUT_SHAPE = frozenset({"approximate", "alpha"})
"""Keyword arguments that change values only."""


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
    """Of one floating type, or a tensor and a number, broadcast."""
    a, b = args[0], args[1]
    if not isinstance(a, Tensor) or not a.is_floating_point():
        return None
    if isinstance(b, Tensor):
        shape = _broadcast(a.shape, b.shape) if b.dtype == a.dtype else None
        return None if shape is None else torch.empty(shape, dtype=a.dtype, device="meta")
    return _unary(args) if isinstance(b, (int, float)) else None


def _broadcast(a: torch.Size, b: torch.Size) -> list[int] | None:
    if len(a) < len(b):
        a, b = b, a
    shape = list(a)
    offset = len(a) - len(b)
    for dim, size in enumerate(b):
        if shape[offset + dim] == 1:
            shape[offset + dim] = size
        elif size not in (1, shape[offset + dim]):
            return None
    return shape


def _clamp(args: tuple[Any, ...]) -> Tensor | None:
    """Between bounds that are tensors of the same type."""
    result: Tensor | None = args[0]
    for bound in args[1:]:
        result = None if result is None else result if bound is None else _binary((result, bound))
    return result if result is None else _unary((result,))


def _floating(args: tuple[Any, ...]) -> Tensor | None:
    return _unary(args) if args[0].is_floating_point() else None


def _bmm(args: tuple[Any, ...]) -> Tensor | None:
    a, b = args
    if a.dim() != 3 or b.dim() != 3 or a.shape[0] != b.shape[0] or a.shape[2] != b.shape[1]:
        return None
    return torch.empty((*a.shape[:2], b.shape[2]), dtype=a.dtype, device="meta")


def _resized(args: tuple[Any, ...]) -> Tensor | None:
    x, sizes = args[0], args[1]
    return torch.empty((*x.shape[:2], *sizes), dtype=x.dtype, device="meta") if sizes else None


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
    torch.ops.aten.bmm.default: _bmm,
    torch.ops.aten.clamp.Tensor: _clamp,
    torch.ops.aten.upsample_nearest2d.default: _resized,
    torch.ops.aten.upsample_bilinear2d.default: _resized,
    torch.ops.aten.upsample_bicubic2d.default: _resized,
    **dict.fromkeys(
        (
            torch.ops.aten.add.Tensor,
            torch.ops.aten.sub.Tensor,
            torch.ops.aten.mul.Tensor,
            torch.ops.aten.div.Tensor,
            torch.ops.aten.pow.Tensor_Scalar,
        ),
        _binary,
    ),
    **dict.fromkeys(
        (
            torch.ops.aten.neg.default,
            torch.ops.aten.exp.default,
            torch.ops.aten.sqrt.default,
            torch.ops.aten.rsqrt.default,
            torch.ops.aten.sin.default,
            torch.ops.aten.cos.default,
            torch.ops.aten.tanh.default,
            torch.ops.aten._softmax.default,
        ),
        _floating,
    ),
    **dict.fromkeys(
        (
            torch.ops.aten.add_.Tensor,
            torch.ops.aten.add_.Scalar,
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

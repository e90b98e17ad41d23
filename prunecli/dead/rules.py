"""Operators of the shadow that NaN does not go through as what is unknown should.

A zero silences whatever it is multiplied by; probabilities of a softmax leave alike what is the same for all;
a norm with a gamma of zero gives its beta. ``strict`` is that of :func:`prunecli.dead.shadow.shadowed`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Arguments: TypeAlias = Sequence[Any]
Rule: TypeAlias = Callable[[Any, Arguments, Mapping[str, Any], bool], Any]

_SUMS_TO_ONE = "_prunecli_sums_to_one"


def _bilinear(first: Tensor, second: Tensor, apply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``apply(first, second)``, a sum of products; NaN where a product of the unknown with anything but zero
    is in the sum.
    """
    unknown = first.isnan(), second.isnan()
    value = apply(torch.where(unknown[0], 0, first), torch.where(unknown[1], 0, second))
    if not (unknown[0].any() or unknown[1].any()):
        return value
    # Counts, in float32: half the work, and exact enough to be told from none.
    counted = apply(unknown[0].float(), (second != 0).float())
    if unknown[1].any():
        counted = counted + apply((first != 0).float(), unknown[1].float())
    return value.masked_fill_(counted > 0.5, torch.nan)


def _mm(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Tensor:
    return _bilinear(args[0], args[1], torch.mm)


def _bmm(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Tensor:
    result = _bilinear(args[0], args[1], torch.bmm)
    if hasattr(args[0], _SUMS_TO_ONE):
        values: Tensor = args[1]
        # max - min is NaN where anything is.
        alike = (values.amax(1) - values.amin(1)).abs() <= 1e-12 * values[:, 0].abs()
        alike &= ~values.isnan().any(1)
        result = torch.where(alike[:, None], values[:, :1], result)
    return result


def _added(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Tensor:
    """addmm, baddbmm: ``beta * args[0] + alpha * args[1] @ args[2]``."""
    product = torch.mm if args[1].dim() == 2 else torch.bmm
    result: Tensor = kwargs.get("beta", 1) * args[0] + kwargs.get("alpha", 1) * _bilinear(
        args[1], args[2], product
    )
    return result


def _linear(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Tensor:
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    result = _bilinear(args[0], args[1], torch.nn.functional.linear)
    return result if bias is None else result + bias


def _convolution(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Tensor:
    x, weight, bias = args[:3]
    padding, transposed = args[4], args[6]
    if strict and (any(padding) or (transposed and not is_pointwise(weight, args[3], args[7]))):
        x = torch.where(x == 0, x, torch.nan)

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return torch.convolution(x, weight, None, *args[3:9])

    result = _bilinear(x, weight, apply)
    return result if bias is None else result + bias.reshape(-1, *[1] * (weight.dim() - 2))


def is_pointwise(weight: Tensor, stride: Sequence[int], output_padding: Sequence[int]) -> bool:
    """Whether a transposed convolution gives every position what one position of its input makes of it."""
    return weight.shape[2:].numel() == 1 and all(s == 1 for s in stride) and not any(output_padding)


def _multiplied(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    first, second = args[:2]
    if not (isinstance(first, Tensor) and isinstance(second, Tensor)):
        return func(*args, **kwargs)
    silenced = ((first == 0) & ~second.isinf()) | ((second == 0) & ~first.isinf())
    return func(*args, **kwargs).masked_fill_(silenced, 0)


def _normed(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    """A batch norm with running statistics."""
    made = func(*args, **kwargs)
    weight, bias = args[1], args[2]
    if weight is None:
        return made
    silent = (weight == 0).nonzero().flatten()
    out = made[0]
    shape = (-1, *[1] * (out.dim() - 2))
    beta = torch.zeros_like(weight) if bias is None else bias
    out[:, silent] = beta[silent].reshape(shape).expand(out[:, silent].shape)
    return made


def _norm(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    return func(*args, **kwargs) if args[5] else _normed(func, args, kwargs, strict)


def _softmax(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    made = func(*args, **kwargs)
    if args[1] % args[0].dim() == args[0].dim() - 1:
        setattr(made, _SUMS_TO_ONE, True)
    return made


def _moved(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    made = func(*args, **kwargs)
    if hasattr(args[0], _SUMS_TO_ONE) and made.shape[-1:] == args[0].shape[-1:]:
        setattr(made, _SUMS_TO_ONE, True)
    return made


def _padded(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    """What is added to positions is what is there already, or all is unknown. (Along the channels of a
    picture other channels are added.)
    """
    made = func(*args, **kwargs)
    x, pad = args[0], args[1]
    value = args[2] if len(args) > 2 else kwargs.get("value", 0)
    dims = [x.dim() - 1 - index // 2 for index, size in enumerate(pad) if size]
    if not strict or not dims or min(dims) < 2:
        return made
    same = (x == value).all(dims[0], keepdim=True)
    for dim in dims[1:]:
        same = same.all(dim, keepdim=True)
    return torch.where(same, made, torch.nan)


def _averaged(func: Any, args: Arguments, kwargs: Mapping[str, Any], strict: bool) -> Any:
    """An average that counts zeros around the picture."""
    x, padding = args[0], args[3] if len(args) > 3 else (0,)
    counts = args[5] if len(args) > 5 else True
    if strict and counts and any(padding):
        x = torch.where(x == 0, x, torch.nan)
    return func(x, *args[1:], **kwargs)


RULES: Mapping[str, Rule] = {
    "mm": _mm,
    "bmm": _bmm,
    "addmm": _added,
    "baddbmm": _added,
    "linear": _linear,
    "convolution": _convolution,
    "mul": _multiplied,
    "mul_": _multiplied,
    "native_batch_norm": _norm,
    "_native_batch_norm_legit_no_training": _normed,
    "_softmax": _softmax,
    "_safe_softmax": _softmax,
    "view": _moved,
    "_unsafe_view": _moved,
    "expand": _moved,
    "clone": _moved,
    "detach": _moved,
    "alias": _moved,
    "_to_copy": _moved,
    "constant_pad_nd": _padded,
    "avg_pool2d": _averaged,
}

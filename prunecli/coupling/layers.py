"""Functions of torch's layers: roles of parameters, group counts and sizes, what only counters count."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everybody uses)

from prunecli.coupling.functions import named, plain, register_adapter, unwatched
from prunecli.coupling.nodes import Node, fixed, normal
from prunecli.coupling.operators import VALUE_CHANGING
from prunecli.coupling.recording import Recording
from prunecli.coupling.space import Role


@register_adapter(
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)
def convolution(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    position = 6
    groups = kwargs.get("groups", args[position] if len(args) > position else 1)
    if int(groups) != 1:
        recording.pair(groups, recording.conv_groups)
    return result


@register_adapter(torch.nn.functional.linear)
def linear(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    recording.role(weight, *(("out", "in") if weight.dim() == 2 else ("in",)))
    recording.role(bias, "bias")
    return func(*args, **kwargs)


@register_adapter(F.layer_norm, torch.layer_norm)
def layer_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    sizes = args[1] if len(args) > 1 else kwargs["normalized_shape"]
    for number, node in zip(sizes, recording.axes(result)[-len(sizes) :], strict=True):
        recording.pair(number, node)
    return result


@register_adapter(F.batch_norm)
def batch_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Of an empty input (a detector without boxes) torch looks at the first weight alone, and no operator
    sees that the channels are those of the parameters.
    """
    given = named("input running_mean running_var weight bias", args, kwargs)
    x = given["input"]
    if x.numel() or x.dim() < 2:
        return func(*args, **kwargs)
    (result,) = unwatched(recording, func, args, kwargs, [x.shape])
    axes = recording.axes(x)
    for name in ("running_mean", "running_var", "weight", "bias"):
        if isinstance(given.get(name), Tensor):
            recording.algebra.unify(axes[1], recording.axes(given[name])[0])
            recording.role(given[name], "norm")
    recording.set_axes(result, [normal(node) for node in axes])
    return result


@register_adapter(F.rms_norm, torch.rms_norm)
def rms_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The mean square of the last dimensions; fvcore does not count it."""
    given = named("input normalized_shape weight eps", args, kwargs)
    x, sizes, weight = given["input"], given["normalized_shape"], given.get("weight")
    (result,) = unwatched(recording, func, args, kwargs, [x.shape])
    axes = recording.axes(x)
    for node in axes[-len(sizes) :]:
        recording.algebra.mark(node, VALUE_CHANGING, "an RMSNorm averages over it")
    if isinstance(weight, Tensor):
        for node, own in zip(axes[-len(sizes) :], recording.axes(weight), strict=True):
            recording.algebra.unify(node, own)
        roles: list[Role] = ["norm"] * len(sizes)
        recording.role(weight, *roles)
    for number, node in zip(sizes, axes[-len(sizes) :], strict=True):
        recording.pair(number, node)
    recording.set_axes(result, [normal(node) for node in axes])
    return result


@register_adapter(F.local_response_norm)
def local_response_norm(
    recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Each channel is scaled by its neighbours, which are others once some are gone."""
    x = named("input", args, kwargs)["input"]
    (result,) = unwatched(recording, func, args, kwargs, [x.shape])
    axes = recording.axes(x)
    recording.algebra.mark(axes[1], VALUE_CHANGING, "a LocalResponseNorm scales it by its neighbours")
    recording.set_axes(result, [normal(node) for node in axes])
    return result


@register_adapter(F.group_norm, torch.group_norm)
def group_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    number = args[1] if len(args) > 1 else kwargs["num_groups"]
    if int(number) > 1:
        recording.pair(number, recording.conv_groups)
    return result


@register_adapter(torch.batch_norm, F.embedding, torch.embedding)
def passes(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


@register_adapter(F.instance_norm, torch.instance_norm)
def instance_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Per-channel and per-sample statistics; below it is a batch norm over a reshape, which would be counted
    twice.
    """
    x = args[0]
    given = named("running_mean running_var weight bias", args[1:5], kwargs)
    axes = recording.axes(x)
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(name)
        if isinstance(tensor, Tensor):
            recording.algebra.unify(axes[1], recording.axes(tensor)[0])
            recording.role(tensor, "norm")
    recording.cost(5 if given.get("weight") is not None else 4, axes, is_product=False)
    result = x.clone()
    recording.set_axes(result, [normal(node) for node in axes])
    return result


@register_adapter(F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d)
def adaptive_avg_pool2d(
    recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    recording.cost(1, recording.axes(args[0]), is_product=False)
    return func(*args, **kwargs)


@register_adapter(F.interpolate)
def interpolate(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``area`` is adaptive pooling, which is counted by its input."""
    given = named("input size scale_factor mode", args, kwargs)
    if given.get("mode") == "area" and given["input"].dim() == 4:
        recording.cost(1, recording.axes(given["input"]), is_product=False)
    return plain(recording, func, args, kwargs)


@register_adapter(F.pad, torch._C._nn.pad)
def pad(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Circular padding is made of copies of slices; the padded dimensions are positions."""
    given = named("input pad mode", args, kwargs)
    if given.get("mode") != "circular":
        return plain(recording, func, args, kwargs)
    x, amounts = given["input"], [int(amount) for amount in given["pad"]]
    axes, count = recording.axes(x), len(amounts) // 2
    before, after = amounts[::2][::-1], amounts[1::2][::-1]
    sizes = [a + b + c for a, b, c in zip(x.shape[-count:], before, after, strict=True)]
    (result,) = unwatched(recording, func, args, kwargs, [(*x.shape[:-count], *sizes)])
    for node in axes[-count:]:
        recording.algebra.pin(node, "spatial positions")
    recording.set_axes(result, [*axes[:-count], *(fixed(size, "spatial positions") for size in sizes)])
    return result


@register_adapter(torch.bilinear)
def bilinear(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``[..., I] x [O, I, J] x [..., J] -> [..., O]``."""
    given = named("input1 input2 weight bias", args, kwargs)
    left, right, weight = given["input1"], given["input2"], given["weight"]
    (result,) = unwatched(recording, func, args, kwargs, [(*left.shape[:-1], weight.shape[0])])
    out, *inputs = recording.axes(weight)
    for tensor, node in zip((left, right), inputs, strict=True):
        recording.algebra.unify(recording.axes(tensor)[-1], node)
    positions = _aligned(recording, recording.axes(left)[:-1], recording.axes(right)[:-1])
    if given.get("bias") is not None:
        recording.algebra.unify(out, recording.axes(given["bias"])[0])
        recording.role(given["bias"], "bias")
    recording.role(weight, "out", "in", "in")
    recording.cost(1, (*positions, out, *inputs))
    recording.set_axes(result, [*positions, normal(out)])
    return result


@register_adapter(torch.cdist)
def cdist(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Distances of all rows of ``[..., P, M]`` to all of ``[..., R, M]``: ``[..., P, R]``."""
    given = named("x1 x2", args, kwargs)
    left, right = recording.axes(given["x1"]), recording.axes(given["x2"])
    if len(left) != len(right):
        return plain(recording, func, args, kwargs)
    batch = _aligned(recording, left[:-2], right[:-2])
    shape = (*(node.size for node in batch), left[-2].size, right[-2].size)
    (result,) = unwatched(recording, func, args, kwargs, [shape])
    recording.algebra.unify(left[-1], right[-1])
    recording.algebra.mark(left[-1], VALUE_CHANGING, "a distance is taken over it")
    recording.set_axes(result, [normal(node) for node in (*batch, left[-2], right[-2])])
    return result


def _aligned(recording: Recording, left: list[Node], right: list[Node]) -> list[Node]:
    """Leading dimensions of two operands: the same, or one of them repeats."""
    for a, b in zip(left, right, strict=True):
        if a.size == b.size:
            recording.algebra.unify(a, b)
    return [normal(a if a.size >= b.size else b) for a, b in zip(left, right, strict=True)]

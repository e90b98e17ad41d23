"""What has to be seen above the operators: numbers written in ``forward``, roles of parameters.

A handler has the form ``handler(recording, func, args, kwargs)`` and returns what the function returns. It
runs the function (whose operators are then seen by the rules) and pairs the numbers it was given with the
axes they came to name. Functions without a handler are run as they are; a traced number they are given must
keep its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everybody uses)

from prunecli.coupling.integers import TracedInt
from prunecli.coupling.nodes import concat, is_pinned, normal
from prunecli.coupling.recording import Recording, numbers_in

Handler = Callable[[Recording, Any, tuple[Any, ...], dict[str, Any]], Any]
HANDLERS: dict[Any, Handler] = {}


def register_adapter(*functions: Any) -> Callable[[Handler], Handler]:
    """Register a handler for functions as ``__torch_function__`` names them. Duplicates raise
    ``ValueError``.
    """

    def add(handler: Handler) -> Handler:
        for function in functions:
            if function in HANDLERS:
                raise ValueError(f"{function} already has a handler")
            HANDLERS[function] = handler
        return handler

    return add


def plain(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any other function: traced numbers given to it must keep their values."""
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind is TracedInt or kind in (tuple, list, torch.Size, slice):
            for number in numbers_in(value):
                recording.integers.fix(number, f"as an argument of {getattr(func, '__name__', func)}")
    return func(*args, **kwargs)


@register_adapter(torch.Tensor.shape.__get__)  # type: ignore[attr-defined]
def shape(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _traced_size(recording, args[0], func(*args))


@register_adapter(torch.Tensor.size)
def size(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if len(args) == 1 and not kwargs:
        return _traced_size(recording, args[0], func(*args))
    dim = int(args[1] if len(args) > 1 else kwargs["dim"])
    return _traced_size(recording, args[0], args[0].shape)[dim]


@register_adapter(torch.Tensor.numel, torch.numel)
def numel(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return math.prod(_traced_size(recording, args[0], args[0].shape))


def _traced_size(recording: Recording, tensor: Tensor, sizes: torch.Size) -> Any:
    if not recording.is_traced(tensor):
        return sizes
    nodes = recording.axes(tensor)
    if all(is_pinned(node) for node in nodes):
        return sizes
    return torch.Size(
        [
            s if is_pinned(node) else recording.integers.size(node)
            for s, node in zip(sizes, nodes, strict=True)
        ]
    )


def _flat(arguments: Sequence[Any]) -> list[Any]:
    first = arguments[0] if arguments else ()
    return list(first) if isinstance(first, (tuple, list, torch.Size)) else list(arguments)


@register_adapter(torch.Tensor.view, torch.Tensor.reshape, torch.reshape, torch.Tensor.expand)
def view(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    sizes = _flat(args[1:]) or list(next(iter(kwargs.values()), ()))
    if all(isinstance(s, int) for s in sizes):
        source = args[0]
        offset = len(sizes) - source.dim()
        repeated = func is torch.Tensor.expand
        for position, (number, node) in enumerate(zip(sizes, recording.axes(result), strict=True)):
            kept = (
                repeated and position >= offset and source.shape[position - offset] == result.shape[position]
            )
            if int(number) != -1 and not (kept and not isinstance(number, TracedInt)):
                recording.pair(number, node)
    return result


@register_adapter(torch.Tensor.unflatten, torch.unflatten)
def unflatten(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    given = dict(zip(("dim", "sizes"), args[1:], strict=False)) | kwargs
    dim, sizes = given["dim"], given["sizes"]
    start = int(dim) % args[0].dim()
    for number, node in zip(sizes, recording.axes(result)[start:], strict=False):
        if int(number) != -1:
            recording.pair(number, node)
    return result


def sliced_by_itself(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    recording.sliced_by_function = True
    try:
        return func(*args, **kwargs)
    finally:
        recording.sliced_by_function = False


@register_adapter(torch.Tensor.chunk, torch.chunk)
def chunk(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``chunk(n)`` says that the pieces are equally long, not that they hold the same indices."""
    parts = sliced_by_itself(recording, func, args, kwargs)
    dim = int(kwargs.get("dim", args[2] if len(args) > 2 else 0))
    nodes = [recording.axes(part)[dim] for part in parts]
    for number in numbers_in(args[1] if len(args) > 1 else kwargs["chunks"]):
        recording.integers.fix(number, "as a number of chunks")
    for node in nodes[1:]:
        if node.size == nodes[0].size:
            recording.integers.same_size(nodes[0], node)
        else:
            for piece in nodes:
                recording.algebra.pin(
                    piece, f"it is cut into {len(nodes)} uneven chunks in {recording.where}"
                )
    return parts


@register_adapter(torch.Tensor.split, torch.split, torch.Tensor.split_with_sizes)
def split(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parts = sliced_by_itself(recording, func, args, kwargs)
    dim = int(kwargs.get("dim", args[2] if len(args) > 2 else 0))
    sizes = next(
        (kwargs[k] for k in ("split_size_or_sections", "split_size", "split_sizes") if k in kwargs), None
    )
    sizes = args[1] if sizes is None else sizes
    if len(parts) > 1:
        nodes = [recording.axes(part)[dim] for part in parts]
        for index, node in enumerate(nodes):
            if not isinstance(sizes, int):
                recording.pair(sizes[index], node)
            elif node.size == int(sizes):
                recording.pair(sizes, node)
            else:
                recording.algebra.pin(node, f"it is the rest of an uneven split in {recording.where}")
    return parts


@register_adapter(torch.Tensor.narrow, torch.narrow)
def narrow(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source, given = args[0], dict(zip(("dim", "start", "length"), args[1:], strict=False)) | kwargs
    result = sliced_by_itself(recording, func, args, kwargs)
    if not isinstance(given["start"], Tensor):
        _pair_slice(
            recording, source, result, int(given["dim"]), given["start"], given["start"] + given["length"]
        )
    return result


@register_adapter(torch.Tensor.__getitem__)
def getitem(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source, key = args
    keys = list(key) if isinstance(key, tuple) else [key]
    if not all(k is None or k is Ellipsis or isinstance(k, (int, slice)) for k in keys):
        return plain(recording, func, args, kwargs)
    result = sliced_by_itself(recording, func, args, kwargs)
    consumed = sum(k is not None and k is not Ellipsis for k in keys)
    position = target = 0
    for item in keys:
        if item is None:
            target += 1
        elif item is Ellipsis:
            position += source.dim() - consumed
            target += source.dim() - consumed
        elif isinstance(item, slice):
            if item.step in (None, 1):
                _pair_slice(recording, source, result, position, item.start, item.stop, target)
            position, target = position + 1, target + 1
        else:
            for number in numbers_in(item):
                recording.integers.fix(number, "as an index")
            position += 1
    return result


def _pair_slice(
    recording: Recording,
    source: Tensor,
    result: Tensor,
    dim: int,
    start: Any,
    stop: Any,
    target: int | None = None,
) -> None:
    """Pair the bounds of a slice with the pieces before, in and after it."""
    whole, part = recording.axes(source)[dim], recording.axes(result)[dim if target is None else target]
    if is_pinned(whole) or part.size == whole.size:
        return
    first, last = int(start or 0), int(stop or 0)
    before, rest = recording.algebra.split(whole, first if first >= 0 else whole.size + first)
    _, after = recording.algebra.split(rest, part.size)
    if first:
        recording.pair(start if first > 0 else -start, before if first > 0 else concat((part, after)))
    if stop is not None and after.size:
        recording.pair(stop if last > 0 else -stop, concat((before, part)) if last > 0 else after)


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


@register_adapter(F.group_norm, torch.group_norm)
def group_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    number = args[1] if len(args) > 1 else kwargs["num_groups"]
    if int(number) > 1:
        recording.pair(number, recording.conv_groups)
    return result


@register_adapter(F.batch_norm, torch.batch_norm, F.embedding, torch.embedding)
def passes(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


@register_adapter(F.instance_norm, torch.instance_norm)
def instance_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Per-channel and per-sample statistics; below it is a batch norm over a reshape, which would be counted
    twice.
    """
    x = args[0]
    given = dict(zip(("running_mean", "running_var", "weight", "bias"), args[1:5], strict=False)) | kwargs
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

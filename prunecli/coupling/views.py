"""Sizes read in ``forward``, and the views made with them: each number is paired with the axis it names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.functions import named, register_adapter
from prunecli.coupling.integers import TracedInt
from prunecli.coupling.nodes import fixed, fresh, is_pinned
from prunecli.coupling.recording import CONSTANT, Recording


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


@register_adapter(torch.Tensor.view, torch.Tensor.reshape, torch.reshape)
def view(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    sizes = _flat(args[1:]) or list(next(iter(kwargs.values()), ()))
    if all(isinstance(s, int) for s in sizes):
        for number, node in zip(sizes, recording.axes(result), strict=True):
            if int(number) != -1:
                recording.pair(number, node)
    return result


@register_adapter(torch.Tensor.expand, torch.Tensor.broadcast_to, torch.broadcast_to)
def expand(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Numbers are paired with the axes they repeat or keep; a constant repeated by a traced number is as long
    as that says.
    """
    source, result = args[0], func(*args, **kwargs)
    sizes = _flat(args[1:]) or list(next(iter(kwargs.values()), ()))
    offset = len(sizes) - source.dim()
    repeated = [
        position < offset or source.shape[position - offset] != size
        for position, size in enumerate(result.shape)
    ]
    if not recording.is_traced(source) and any(
        again and type(number) is TracedInt for again, number in zip(repeated, sizes, strict=True)
    ):
        recording.set_axes(result, [
            fresh(size) if again else fixed(size, CONSTANT)
            for again, size in zip(repeated, result.shape, strict=True)
        ])  # fmt: skip
    for number, node in zip(sizes, recording.axes(result), strict=True):
        if int(number) != -1:
            recording.pair(number, node)
    return result


@register_adapter(torch.Tensor.unflatten, torch.unflatten)
def unflatten(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    given = named("dim sizes", args[1:], kwargs)
    dim, sizes = given["dim"], given["sizes"]
    start = int(dim) % args[0].dim()
    for number, node in zip(sizes, recording.axes(result)[start:], strict=False):
        if int(number) != -1:
            recording.pair(number, node)
    return result

"""Slices, chunks and assignments to slices: their bounds are paired with the pieces they cut."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.functions import named, plain, register_adapter
from prunecli.coupling.nodes import concat, fixed, is_pinned
from prunecli.coupling.recording import Recording, numbers_in


def sliced_by_itself(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    recording.sliced_by_function = True
    try:
        return func(*args, **kwargs)
    finally:
        recording.sliced_by_function = False


@register_adapter(torch.Tensor.chunk, torch.chunk)
def chunk(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``chunk(n)`` says that the pieces are equally long, not that they hold the same indices. A shorter last
    one stays shorter by as much: with as many indices gone from each, torch cuts at the same places.
    """
    parts = sliced_by_itself(recording, func, args, kwargs)
    dim = int(kwargs.get("dim", args[2] if len(args) > 2 else 0))
    nodes = [recording.axes(part)[dim] for part in parts]
    for number in numbers_in(args[1] if len(args) > 1 else kwargs["chunks"]):
        recording.integers.fix(number, "as a number of chunks")
    for node in nodes[1:]:
        missing = fixed(nodes[0].size - node.size, "what the last chunk is short of")
        recording.integers.same_size(nodes[0], concat((node, missing)))
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
    source, given = args[0], named("dim start length", args[1:], kwargs)
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


@register_adapter(torch.Tensor.__setitem__)
def setitem(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x[key] = value`` copies into a slice, whose axes are then those of the value."""
    target, key, value = args
    keys = key if isinstance(key, tuple) else (key,)
    if not all(k is None or k is Ellipsis or isinstance(k, (int, slice)) for k in keys):
        return plain(recording, func, args, kwargs)
    part = getitem(recording, torch.Tensor.__getitem__, (target, key), {})
    if isinstance(value, Tensor):
        while value.dim() > part.dim():
            value = value.squeeze(0)
        part.copy_(value)
    else:
        part.fill_(value)
    return None


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

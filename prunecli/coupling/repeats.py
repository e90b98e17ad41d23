"""Repetition: an axis laid out several times, as key heads are for the query heads that share them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.functions import plain, register_adapter
from prunecli.coupling.integers import TracedInt
from prunecli.coupling.nodes import Node, fixed, fresh, product
from prunecli.coupling.operators import REPEATED
from prunecli.coupling.recording import Recording


def repetition(recording: Recording, times: int) -> Node:
    """The axis of ``times`` repeats: free to shrink with the number it was made of, fixed if that is a plain
    one.
    """
    if not isinstance(times, TracedInt):
        return fixed(int(times), f"repeated a plain number of times in {recording.where}")
    node = fresh(int(times))
    recording.algebra.mark(node, REPEATED, f"repeated in {recording.where}")
    recording.pair(times, node)
    return node


@register_adapter(torch.Tensor.repeat_interleave, torch.repeat_interleave)
def repeat_interleave(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Every index ``times`` times in a row: [axis x times]."""
    given = dict(zip(("input", "repeats", "dim"), args, strict=False)) | kwargs
    source, times, dim = given["input"], given.get("repeats"), given.get("dim")
    if not isinstance(times, int) or dim is None or not recording.is_traced(source):
        return plain(recording, func, args, kwargs)
    axes = list(recording.axes(source))
    result = func(source, int(times), int(dim))
    axes[int(dim)] = product((axes[int(dim)], repetition(recording, times)))
    recording.set_axes(result, axes)
    return result


@register_adapter(torch.Tensor.repeat, torch.Tensor.tile, torch.tile)
def repeat(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The whole axis ``times`` times over: [times x axis]."""
    counts = next(iter(kwargs.values()), None) if len(args) == 1 else args[1:]
    if isinstance(counts, tuple) and len(counts) == 1 and isinstance(counts[0], (tuple, list)):
        counts = counts[0]
    if not isinstance(counts, (tuple, list)) or not recording.is_traced(args[0]):
        return plain(recording, func, args, kwargs)
    source: Tensor = args[0]
    result = func(source, tuple(int(count) for count in counts))
    times = [*(1 for _ in range(result.dim() - len(counts))), *counts]
    axes = [*(fixed(1, "repeated") for _ in range(result.dim() - source.dim())), *recording.axes(source)]
    recording.set_axes(
        result,
        [
            node if int(count) == 1 else product((repetition(recording, count), node))
            for count, node in zip(times, axes, strict=True)
        ],
    )
    return result


@register_adapter(torch.Tensor.expand_as)
def expand_as(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What is repeated to the size of another tensor's axis keeps to that axis."""
    other = args[1] if len(args) > 1 else kwargs["other"]
    result = func(*args, **kwargs)
    for node, own in zip(recording.axes(result), recording.axes(other), strict=True):
        recording.algebra.unify(node, own)
    return result

"""Constants made in ``forward`` as long as an axis is: ``torch.zeros(n, self.hidden_size)``."""

from __future__ import annotations

from typing import Any

import torch

from prunecli.coupling.functions import named, plain, register_adapter, untraced
from prunecli.coupling.integers import TracedInt
from prunecli.coupling.nodes import fixed, fresh
from prunecli.coupling.recording import CONSTANT, Recording, numbers_in

_BY_SIZE = (torch.zeros, torch.ones, torch.empty, torch.rand, torch.randn)
_NEW = (torch.Tensor.new_zeros, torch.Tensor.new_ones, torch.Tensor.new_empty)
_FULL = (torch.full, torch.Tensor.new_full)


@register_adapter(*_BY_SIZE, *_NEW, *_FULL)
def constant(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any selection of the indices of such a tensor is such a tensor: its axes are free until they meet
    others.
    """
    own = args[1:] if func in _NEW or func is torch.Tensor.new_full else args
    first = named("size", own[:1], kwargs).get("size", ())
    sizes = first if isinstance(first, (tuple, list, torch.Size)) else () if func in _FULL else own
    if not any(type(size) is TracedInt for size in sizes):
        return plain(recording, func, args, kwargs)
    for number in numbers_in(own[1:] if func in _FULL else ()) + numbers_in(kwargs.get("fill_value")):
        recording.integers.fix(number, "as the value of a constant")
    result = func(*untraced(args), **{name: untraced(value) for name, value in kwargs.items()})
    axes = [fresh(int(n)) if type(n) is TracedInt else fixed(int(n), CONSTANT) for n in sizes]
    recording.set_axes(result, axes)
    for size, node in zip(sizes, axes, strict=True):
        if type(size) is TracedInt:
            recording.pair(size, node)
    recording.call_uniform(result)
    return result


@register_adapter(torch.Tensor.to, torch.Tensor.clone, torch.Tensor.contiguous, torch.Tensor.requires_grad_)
def moved(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    uniform = recording.is_uniform(args[0])
    result = plain(recording, func, args, kwargs)
    if uniform:
        recording.call_uniform(result)
    return result

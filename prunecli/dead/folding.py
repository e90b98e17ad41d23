"""Where the constants of units that go are added instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from prunecli.coupling.axes import kept_indices
from prunecli.coupling.space import Space
from prunecli.dead.readings import Reading, Readings
from prunecli.running.calls import place

Keep = Mapping[str, Sequence[int]]


def folded(
    tensors: Mapping[str, Tensor], space: Space, readings: Readings, keep: Keep
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """``tensors`` (float64, dense) with what removed units gave added to biases, or taken from means; and the
    names of the tensors that changed.
    """
    result = dict(tensors)
    changed: list[str] = []
    for reading in (one for some in readings.of.values() for one in some):
        shift = _shift(reading, tensors[reading.name], space, keep)
        where = reading.place
        if shift is None or where is None:
            continue
        target = result[where.name].clone()
        target.view(-1)[where.start : where.stop] += where.sign * shift
        same = place(tensors[where.name])
        names = [name for name, tensor in tensors.items() if place(tensor) == same]
        result.update(dict.fromkeys(names, target))
        changed += names
    return result, tuple(dict.fromkeys(changed))


def _shift(reading: Reading, parameter: Tensor, space: Space, keep: Keep) -> Tensor | None:
    """``[O]``: what the removed inputs of one operation give its outputs, None where that is nothing."""
    gone = _gone(reading, space, keep)
    constants = torch.where(gone & ~reading.arrives.isnan(), reading.arrives, 0)
    if not constants.any():
        return None
    shift = torch.einsum("goit,gi->go", reading.matrix(parameter), constants).flatten()
    return shift if shift.any() else None


def _gone(reading: Reading, space: Space, keep: Keep) -> Tensor:
    """``[G, I/G]``: which inputs are removed."""
    gone = torch.zeros_like(reading.dead)
    for dim, axis in enumerate(space.axes.get(reading.name, ())):
        along = reading.inputs_along(dim)
        if along is None:
            continue
        start, count, follows = along
        kept = kept_indices(axis, space.sizes, keep) - start
        stays = torch.zeros(count, dtype=torch.bool)
        stays[kept[(kept >= 0) & (kept < count)]] = True
        gone |= ~(stays.reshape(gone.shape) if follows else stays.expand(gone.shape))
    return gone

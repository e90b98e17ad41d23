"""What an operation multiplies its weight by, at some of its output positions.

Letters in shapes: ``G`` groups of a convolution, ``I`` inputs of one of them, ``K`` kernel positions, ``R``
rows (an output position of a sample), ``O`` outputs of one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import sqrt

import torch
from torch import Tensor

from prunecli.running.calls import Call


def rows(call: Call, output: Tensor, positions: int, generator: torch.Generator) -> Tensor:
    """``[G, R, I, K]``: at most ``positions`` output positions of each sample of a convolution, or rows of a
    product, chosen by ``generator`` where there are more; then scaled, so that squares add up to as much as
    those of all.
    """
    if call.kind == "product":
        chosen = _some(len(call.x), positions, generator)
        return _scaled(call.x[chosen.to(call.x.device)], len(call.x), len(chosen))[None, :, :, None]
    groups = _blocks(call)
    sizes, kernel = torch.Size(output.shape[2:]), tuple(call.weight.shape[2:])
    chosen = _some(sizes.numel(), positions, generator)
    taken = _taken(call, sizes, kernel, chosen)
    flat = torch.nn.functional.pad(call.x.flatten(2), (0, 1))  # the last position is nothing
    found = _scaled(flat[:, :, taken.to(flat.device)], sizes.numel(), len(chosen))
    samples, channels = flat.shape[:2]
    grouped = found.reshape(samples, groups, channels // groups, len(chosen), -1)
    return grouped.permute(1, 0, 3, 2, 4).flatten(1, 2)


def weights(call: Call) -> Tensor:
    """``[G, O, I, K]``. The groups of a transposed convolution are blocks of one large group, since its
    weight has all inputs in one dimension.
    """
    if call.kind == "product":
        return call.weight.T[None, :, :, None]
    groups, weight = call.geometry.groups, call.weight.flatten(2)
    if call.kind == "convolution":
        return weight.reshape(groups, -1, *weight.shape[1:])
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    inputs, outputs = blocks.shape[1:3]
    whole = weight.new_zeros(groups, outputs, groups, inputs, blocks.shape[3])
    for index, block in enumerate(blocks):
        whole[index, :, index] = block.transpose(0, 1)
    return whole.reshape(1, groups * outputs, groups * inputs, -1)


def _blocks(call: Call) -> int:
    return call.geometry.groups if call.kind == "convolution" else 1


def _scaled(found: Tensor, of: int, count: int) -> Tensor:
    return found if of == count else found * sqrt(of / count)


def _some(count: int, most: int, generator: torch.Generator) -> Tensor:
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:most].sort().values


def _taken(call: Call, sizes: Sequence[int], kernel: tuple[int, ...], chosen: Tensor) -> Tensor:
    """The flat input position that each kernel position sees from each output position (``[R, K]``); one
    behind the last where it sees padding.
    """
    geometry, given = call.geometry, call.x.shape[2:]
    at = torch.stack(torch.unravel_index(chosen, tuple(sizes)), 1)[:, None]
    steps = torch.tensor(list(product(*map(range, kernel))))[None]
    stride, padding, dilation = map(torch.tensor, (geometry.stride, geometry.padding, geometry.dilation))
    if call.kind == "convolution":
        seen = at * stride - padding + steps * dilation
        inside = torch.ones_like(seen, dtype=torch.bool)
    else:
        moved = at + padding - steps * dilation
        seen, inside = moved.div(stride, rounding_mode="floor"), moved % stride == 0
    inside &= (seen >= 0) & (seen < torch.tensor(given))
    flat = torch.zeros(seen.shape[:2], dtype=torch.int64)
    for dim, size in enumerate(given):
        flat = flat * size + seen[..., dim]
    return torch.where(inside.all(-1), flat, torch.Size(given).numel())

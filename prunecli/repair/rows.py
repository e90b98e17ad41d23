"""What an operation sees, as rows: one row of inputs and one of outputs for every output position.

Shapes: ``u [G, rows, columns]``, ``y [G, rows, O/G]`` with ``columns = I/G * k``, in the order in which a
weight ``[O, I/G, *k]`` is flattened.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from torch import Tensor

from prunecli.running.calls import Call


def picked(call: Call, output_shape: tuple[int, ...], most: int, seed: int) -> Tensor | None:
    """At most ``most`` of the output positions (of samples and space together, int64), drawn by ``seed``;
    None for all.
    """
    if call.kind == "product":
        total = call.x.shape[0]
    else:
        total = output_shape[0] * int(torch.Size(output_shape[2:]).numel())
    if total <= most:
        return None
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(total, generator=generator)[:most].sort().values.to(call.x.device)


def inputs(call: Call, positions: Tensor | None) -> Tensor:
    """``u`` at ``positions``."""
    if call.kind == "product":
        return (call.x if positions is None else call.x[positions])[None]
    patches = _patches(call)
    groups = call.geometry.groups
    n, channels, *rest = patches.shape
    spatial, kernel = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    order = (0, *range(2, 2 + len(spatial)), 1, *range(2 + len(spatial), patches.dim()))
    rows = patches.permute(order)
    found = (
        rows[_unravel(positions, (n, *spatial))] if positions is not None else rows.flatten(0, len(spatial))
    )
    columns = channels // groups * int(torch.Size(kernel).numel())
    return found.reshape(found.shape[0], groups, columns).transpose(0, 1)


def outputs(call: Call, y: Tensor, positions: Tensor | None, kept: Tensor, groups: int) -> Tensor:
    """``y``, an output of the dense network, at ``positions`` and at its ``kept`` channels."""
    if call.kind == "product":
        flat = y.reshape(-1, y.shape[-1])
        rows = flat if positions is None else flat[positions]
    else:
        channels_last = y.movedim(1, -1)
        rows = (
            channels_last.flatten(0, -2)
            if positions is None
            else channels_last[_unravel(positions, tuple(channels_last.shape[:-1]))]
        )
    rows = rows[:, kept]
    return rows.reshape(rows.shape[0], groups, -1).transpose(0, 1)


def _unravel(positions: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return torch.unravel_index(positions, shape)


def _patches(call: Call) -> Tensor:
    """A view ``[n, I, *positions, *k]`` of the (padded) input."""
    x, geometry, kernel = call.x, call.geometry, call.weight.shape[2:]
    if call.kind == "transposed":
        x, paddings, strides = _spread(call), [(0, 0)] * len(kernel), (1,) * len(kernel)
    else:
        paddings, strides = [(p, p) for p in geometry.padding], geometry.stride
    x = F.pad(x, [side for pair in reversed(paddings) for side in pair])
    for dim, size in enumerate(kernel):
        reach = (size - 1) * geometry.dilation[dim] + 1
        x = x.unfold(2 + dim, reach, strides[dim])[..., :: geometry.dilation[dim]]
    if call.kind == "transposed":
        x = x.flip(tuple(range(2 + len(kernel), x.dim())))
    return x


def _spread(call: Call) -> Tensor:
    """The input of a transposed convolution with zeros between, so that an ordinary one gives the same."""
    x, geometry = call.x, call.geometry
    sizes = [(size - 1) * step + 1 for size, step in zip(x.shape[2:], geometry.stride, strict=True)]
    wide = x.new_zeros((*x.shape[:2], *sizes))
    spread = (slice(None), slice(None), *(slice(None, None, step) for step in geometry.stride))
    wide[spread] = x
    sides = []
    for size, step, pad, more in zip(
        call.weight.shape[2:], geometry.dilation, geometry.padding, geometry.output_padding, strict=True
    ):
        before = step * (size - 1) - pad
        sides.append((before, before + more))
    return F.pad(wide, [side for pair in reversed(sides) for side in pair])


def as_matrix(call_kind: str, weight: Tensor, groups: int) -> Tensor:
    """``weight`` as ``[G, O/G, columns]``, the matrix that multiplies the rows."""
    if call_kind == "product":
        return weight.t()[None]
    if call_kind == "transposed":
        inner = weight.shape[0] // groups
        split = weight.reshape(groups, inner, *weight.shape[1:]).transpose(1, 2)
        return split.flatten(2)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def from_matrix(call_kind: str, matrix: Tensor, like: Tensor, groups: int) -> Tensor:
    """The inverse of :func:`as_matrix`, in the shape of ``like``."""
    if call_kind == "product":
        return matrix[0].t()
    if call_kind == "transposed":
        inner = like.shape[0] // groups
        split = matrix.reshape(groups, like.shape[1], inner, *like.shape[2:]).transpose(1, 2)
        return split.reshape(like.shape)
    return matrix.reshape(like.shape)

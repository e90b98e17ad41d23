"""Axis expressions over groups: the immutable half of the axis algebra.

Every dimension of every parameter is described by one of four expressions. Removing units from groups then
determines which indices every dimension keeps:

- ``Fixed(n)``: ``n`` indices that always stay;
- ``Units(group)``: the units of one group, in order;
- ``Product(factors)``: a merged dimension, outer factor first (index = outer * inner_size + inner);
- ``Concat(parts)``: parts laid end to end.

``sizes`` below maps a group name to its present number of units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fixed:
    """``size`` indices that are never removed."""

    size: int


@dataclass(frozen=True, slots=True)
class Units:
    """The units of the group called ``group``."""

    group: str


@dataclass(frozen=True, slots=True)
class Product:
    """Merged dimensions, outermost first."""

    factors: tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """Parts laid end to end."""

    parts: tuple[Axis, ...]


Axis: TypeAlias = Fixed | Units | Product | Concat


def groups_in(axis: Axis) -> tuple[str, ...]:
    """Names of the groups in ``axis``, each once, in order of appearance."""
    if isinstance(axis, Units):
        return (axis.group,)
    children = axis.factors if isinstance(axis, Product) else axis.parts if isinstance(axis, Concat) else ()
    return tuple(dict.fromkeys(name for child in children for name in groups_in(child)))


def size_of(axis: Axis, sizes: Mapping[str, int]) -> int:
    """Number of indices of ``axis`` when group ``g`` has ``sizes[g]`` units."""
    if isinstance(axis, Fixed):
        return axis.size
    if isinstance(axis, Units):
        return sizes[axis.group]
    if isinstance(axis, Concat):
        return sum(size_of(part, sizes) for part in axis.parts)
    return reduce(lambda product, factor: product * size_of(factor, sizes), axis.factors, 1)


def kept_indices(axis: Axis, sizes: Mapping[str, int], keep: Mapping[str, Sequence[int]]) -> Tensor:
    """The indices of ``axis`` that stay, ascending (int64 ``[kept]``), when group ``g`` keeps ``keep[g]``.

    A group missing from ``keep`` is kept whole.
    """
    if isinstance(axis, Fixed):
        return torch.arange(axis.size)
    if isinstance(axis, Units):
        if axis.group in keep:
            return torch.tensor(list(keep[axis.group]), dtype=torch.int64)
        return torch.arange(sizes[axis.group])
    if isinstance(axis, Concat):
        offset, pieces = 0, []
        for part in axis.parts:
            pieces.append(kept_indices(part, sizes, keep) + offset)
            offset += size_of(part, sizes)
        return torch.cat(pieces)
    indices = torch.zeros(1, dtype=torch.int64)
    for factor in axis.factors:
        inner = kept_indices(factor, sizes, keep)
        indices = (indices[:, None] * size_of(factor, sizes) + inner[None, :]).reshape(-1)
    return indices


def owners(axis: Axis, sizes: Mapping[str, int], group: str) -> Tensor:
    """For every index of ``axis`` the unit of ``group`` it belongs to, or -1 (int64 ``[size]``)."""
    if isinstance(axis, Units) and axis.group == group:
        return torch.arange(sizes[group])
    if isinstance(axis, Concat):
        return torch.cat([owners(part, sizes, group) for part in axis.parts])
    if isinstance(axis, Product):
        owner = torch.full((1,), -1, dtype=torch.int64)
        for factor in axis.factors:
            inner = owners(factor, sizes, group)
            owner = torch.maximum(owner[:, None], inner[None, :]).reshape(-1)
        return owner
    return torch.full((size_of(axis, sizes),), -1, dtype=torch.int64)

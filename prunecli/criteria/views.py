"""What the author of a criterion sees: the slots of one group, with the sums and rows per unit ready to take.

Letters in shapes: ``n`` units of the group, ``m`` numbers that one unit owns in one slot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from prunecli.coupling.axes import Axis, Concat, Units, groups_in, owners, size_of
from prunecli.coupling.space import Group, Role, Slot, Space
from prunecli.criteria.evidence import NOTHING, Evidence
from prunecli.errors import InputError

Elementwise = Callable[[Tensor], Tensor]

# 512 KiB of float64 stays in the cache between the passes; larger blocks were measured slower.
_BLOCK_ELEMENTS = 1 << 16


def sums_per_index(tensor: Tensor, function: Elementwise, dims: Collection[int]) -> dict[int, Tensor]:
    """For each of ``dims``, ``function(tensor)`` summed over the others: float64 ``[shape[dim]]``, CPU.

    ``function`` sees float64 blocks of leading-dimension slices, so no full float64 copy ever exists, and all
    dimensions are served by one pass.
    """
    rows = max(1, _BLOCK_ELEMENTS * tensor.shape[0] // max(1, tensor.numel()))
    buffer = torch.empty(
        (min(rows, tensor.shape[0]), *tensor.shape[1:]), dtype=torch.float64, device=tensor.device
    )
    leading: list[Tensor] = []
    rest = torch.zeros(tensor.shape[1:], dtype=torch.float64, device=tensor.device)
    for start in range(0, tensor.shape[0], rows):
        block = tensor[start : start + rows]
        values = function(buffer[: block.shape[0]].copy_(block))
        if 0 in dims:
            leading.append(values.reshape(block.shape[0], -1).sum(1))
        if any(dim > 0 for dim in dims):
            rest += values.sum(0)
    sums = {dim: _sum_except(rest, dim - 1).cpu() for dim in dims if dim > 0}
    return sums | ({0: torch.cat(leading).cpu()} if 0 in dims else {})


def _sum_except(values: Tensor, dim: int) -> Tensor:
    others = [other for other in range(values.dim()) if other != dim]
    return values.sum(others) if others else values


@dataclass(frozen=True)
class ParameterView:
    """One parameter on the compute device; remembers sums so that its slots share one pass."""

    name: str
    tensor: Tensor
    axes: tuple[Axis, ...]
    device: torch.device
    is_batch_norm_scale: bool = False
    evidence: Evidence = NOTHING
    _sums: dict[Elementwise, dict[int, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def on_device(self) -> Tensor:
        return self.tensor.detach().to(self.device)

    def sums(self, function: Elementwise) -> dict[int, Tensor]:
        """``sums_per_index`` over every dimension that holds units."""
        if function not in self._sums:
            dims = [dim for dim, axis in enumerate(self.axes) if groups_in(axis)]
            self._sums[function] = sums_per_index(self.on_device, function, dims)
        return self._sums[function]


@dataclass(frozen=True)
class Segment:
    """A stretch of a dimension that holds units: ``owner`` is the unit of each of its indices, -1 for none.

    ``owner=None``: the indices are the units, in order.
    """

    start: int
    owner: Tensor | None

    def per_unit(self, sums: Tensor, size: int) -> Tensor:
        """``sums`` (``[index of the dimension, ...]``) added up per unit: ``[n, ...]``."""
        if self.owner is None:
            return sums[self.start : self.start + size]
        owner = self.owner.to(sums.device)
        owned = owner >= 0
        stretch = sums[self.start : self.start + len(owner)]
        zeros = sums.new_zeros((size, *sums.shape[1:]))
        return zeros.index_add_(0, owner[owned], stretch[owned])

    def indices(self, size: int) -> Tensor:
        """The indices that each unit owns: int64 ``[n, count]``."""
        if self.owner is None:
            return self.start + torch.arange(size)[:, None]
        order = torch.argsort(self.owner, stable=True)[int((self.owner < 0).sum()) :]
        return self.start + order.reshape(size, -1)


def segments_of(axis: Axis, sizes: Mapping[str, int], start: int = 0) -> dict[str, tuple[Segment, ...]]:
    """The segments of every group in ``axis``, whose first index is ``start``.

    Parts of a concatenation are told apart, so that a network of long concatenations stays cheap to score.
    """
    if isinstance(axis, Units):
        return {axis.group: (Segment(start, None),)}
    if not isinstance(axis, Concat):
        return {name: (Segment(start, owners(axis, sizes, name)),) for name in groups_in(axis)}
    result: dict[str, tuple[Segment, ...]] = {}
    for part in axis.parts:
        for name, segments in segments_of(part, sizes, start).items():
            result[name] = result.get(name, ()) + segments
        start += size_of(part, sizes)
    return result


@dataclass(frozen=True)
class SlotView:
    """One slot of a group."""

    slot: Slot
    size: int
    segments: tuple[Segment, ...]
    parameter: ParameterView
    group: str

    @property
    def role(self) -> Role:
        return self.slot.role

    @property
    def is_batch_norm_scale(self) -> bool:
        """Whether this is the gamma of a BatchNorm: beta has the role ``norm`` too."""
        return self.slot.role == "norm" and self.parameter.is_batch_norm_scale

    @property
    def weight(self) -> Tensor:
        """The whole parameter, in its own dtype, on the compute device."""
        return self.parameter.on_device

    def sum_of(self, function: Elementwise) -> Tensor:
        """Per unit, the sum of ``function`` over the parameter's elements it owns: float64 ``[n]``, CPU.

        ``function`` is elementwise, receives float64 blocks and may work in place on them. Give a named
        function rather than a fresh lambda: its sums are remembered, and the parameter's other slots need no
        second pass.
        """
        return self._per_unit(self.parameter.sums(function)[self.slot.dim])

    def sum(self, values: Tensor) -> Tensor:
        """Per unit, the sum of ``values`` (of the parameter's shape): float64 ``[n]``, CPU."""
        dim = self.slot.dim
        return self._per_unit(sums_per_index(values, _unchanged, (dim,))[dim])

    def rows(self) -> Tensor:
        """The elements that each unit owns: float64 ``[n, m]`` on the compute device."""
        rows = self.weight.movedim(self.slot.dim, 0)
        return rows[self.indices.reshape(-1).to(rows.device)].reshape(self.size, -1).to(torch.float64)

    @property
    def indices(self) -> Tensor:
        """The indices of the dimension that each unit owns: int64 ``[n, count]``."""
        return torch.cat([segment.indices(self.size) for segment in self.segments], 1)

    @property
    def gradient(self) -> Tensor:
        """The gradient of the loss, the mean over all samples: float64, of the parameter's shape."""
        return self.parameter.evidence.gradient[self.slot.parameter]

    @property
    def curvature(self) -> Tensor:
        """The Hessian of the loss times its gradient: float64, of the parameter's shape."""
        return self.parameter.evidence.curvature[self.slot.parameter]

    @property
    def squared_gradient(self) -> Tensor:
        """The mean over samples of the squared gradient of each: float64, of the parameter's shape."""
        return self.parameter.evidence.squared_gradient[self.slot.parameter]

    @property
    def products(self) -> Tensor:
        """For each of some samples the sum over the unit's weights of weight times gradient: ``[n, c]``."""
        along = per_index(self.parameter.evidence.products[self.slot.parameter], self.slot.dim)
        return self._per_unit(along)

    @property
    def inputs(self) -> UnitInputs | None:
        """What the operation was given of each unit; None where this is no ``in`` slot, or not followed."""
        found = self.parameter.evidence.inputs.get((self.slot.parameter, self.slot.dim))
        if found is None or self.role != "in":
            return None
        owned = self.indices.shape[1]
        magnitude = self._per_unit(found.magnitude) / (found.count * owned)
        return UnitInputs(magnitude, self._per_unit(found.squares).sqrt())

    @property
    def rank(self) -> Tensor | None:
        """The mean numerical rank of each unit's maps, ``[n]``; None where the operation is given none."""
        found = self.parameter.evidence.ranks.get((self.slot.parameter, self.slot.dim))
        if found is None or self.role != "in":
            return None
        return self._per_unit(found) / self.indices.shape[1]

    @property
    def gram(self) -> Tensor | None:
        """``<C_k, C_l>`` (``[n, n]``) of what units ``k`` and ``l`` contribute to the operation's outputs."""
        return self.parameter.evidence.grams.get((self.group, self.slot.parameter, self.slot.dim))

    def _per_unit(self, sums: Tensor) -> Tensor:
        pieces = [segment.per_unit(sums, self.size) for segment in self.segments]
        return pieces[0] if len(pieces) == 1 else torch.stack(pieces).sum(0)


@dataclass(frozen=True)
class UnitInputs:
    """What an operation was given of each unit: ``magnitude [n]``, the mean of ``|x|`` over samples and
    positions, and ``norm [n]``, the square root of the sum of ``x^2``.
    """

    magnitude: Tensor
    norm: Tensor


@dataclass(frozen=True)
class GroupView:
    """A group and its slots, in execution order."""

    group: Group
    slots: tuple[SlotView, ...]
    seed: int


def _unchanged(values: Tensor) -> Tensor:
    return values


def per_index(values: Tensor, dim: int) -> Tensor:
    """``values [c, *shape]`` summed over all dimensions of a parameter but ``dim``: float64 ``[size, c]``."""
    others = [other + 1 for other in range(values.dim() - 1) if other != dim]
    sums = values.sum(others, dtype=torch.float64) if others else values.to(torch.float64)
    return sums.T


def group_views(
    space: Space,
    tensors: Mapping[str, Tensor],
    seed: int,
    device: torch.device,
    evidence: Evidence | None = None,
) -> list[GroupView]:
    """A view of every group that is not frozen. Raises ``InputError`` where a slot has no tensor."""
    parameters: dict[str, ParameterView] = {}
    views = []

    @cache
    def segments(parameter: str, dim: int) -> dict[str, tuple[Segment, ...]]:
        return segments_of(space.axes[parameter][dim], space.sizes)

    for group in space.groups:
        if group.frozen is not None:
            continue
        for slot in group.slots:
            if slot.parameter not in tensors:
                raise InputError(f"no tensor '{slot.parameter}', which group '{group.name}' touches")
            if slot.parameter not in parameters:
                axes = space.axes[slot.parameter]
                scale = _is_batch_norm_scale(slot.parameter, tensors)
                parameters[slot.parameter] = ParameterView(
                    slot.parameter, tensors[slot.parameter], axes, device, scale, evidence or NOTHING
                )
        slots = []
        for slot in group.slots:
            parameter = parameters[slot.parameter]
            owned = segments(slot.parameter, slot.dim)[group.name]
            slots.append(SlotView(slot, group.size, owned, parameter, group.name))
        views.append(GroupView(group, tuple(slots), seed))
    return views


def _is_batch_norm_scale(parameter: str, tensors: Mapping[str, Tensor]) -> bool:
    """The weight of a layer that keeps running statistics: no other norm does."""
    module, _, leaf = parameter.rpartition(".")
    statistics = f"{module}.running_mean" if module else "running_mean"
    return leaf == "weight" and statistics in tensors

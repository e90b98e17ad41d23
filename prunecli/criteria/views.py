"""What the author of a criterion sees: the slots of one group, with the sums and rows per unit ready to take.

Letters in shapes: ``n`` units of the group, ``m`` numbers that one unit owns in one slot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prunecli.coupling.axes import Axis, Units, groups_in, owners
from prunecli.coupling.space import Group, Role, Slot, Space
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
class SlotView:
    """One slot of a group. ``is_batch_norm_scale`` marks the gamma of a BatchNorm."""

    slot: Slot
    size: int
    owner: Tensor | None  # unit of every index of the dimension, -1 for none; None where index == unit
    parameter: ParameterView
    is_batch_norm_scale: bool

    @property
    def role(self) -> Role:
        return self.slot.role

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
        if self.owner is not None:
            order = torch.argsort(self.owner, stable=True)[int((self.owner < 0).sum()) :]
            rows = rows[order.to(rows.device)]
        return rows.reshape(self.size, -1).to(torch.float64)

    def _per_unit(self, sums: Tensor) -> Tensor:
        if self.owner is None:
            return sums
        owned = self.owner >= 0
        result = torch.zeros(self.size, dtype=torch.float64)
        return result.index_add_(0, self.owner[owned], sums[owned])


@dataclass(frozen=True)
class GroupView:
    """A group and its slots, in execution order."""

    group: Group
    slots: tuple[SlotView, ...]
    seed: int


def _unchanged(values: Tensor) -> Tensor:
    return values


def group_views(
    space: Space, tensors: Mapping[str, Tensor], seed: int, device: torch.device
) -> list[GroupView]:
    """A view of every group that is not frozen. Raises ``InputError`` where a slot has no tensor."""
    parameters: dict[str, ParameterView] = {}
    views = []
    for group in space.groups:
        if group.frozen is not None:
            continue
        for slot in group.slots:
            if slot.parameter not in tensors:
                raise InputError(f"no tensor '{slot.parameter}', which group '{group.name}' touches")
            if slot.parameter not in parameters:
                axes = space.axes[slot.parameter]
                parameters[slot.parameter] = ParameterView(
                    slot.parameter, tensors[slot.parameter], axes, device
                )
        slots = tuple(
            _slot_view(space, group, slot, parameters[slot.parameter], tensors) for slot in group.slots
        )
        views.append(GroupView(group, slots, seed))
    return views


def _slot_view(
    space: Space, group: Group, slot: Slot, parameter: ParameterView, tensors: Mapping[str, Tensor]
) -> SlotView:
    axis = parameter.axes[slot.dim]
    owner = None if axis == Units(group.name) else owners(axis, space.sizes, group.name)
    module, _, leaf = slot.parameter.rpartition(".")
    # gamma and beta share the role 'norm'; only a BatchNorm keeps running statistics beside them.
    statistics = f"{module}.running_mean" if module else "running_mean"
    is_scale = slot.role == "norm" and leaf == "weight" and statistics in tensors
    return SlotView(slot, group.size, owner, parameter, is_scale)

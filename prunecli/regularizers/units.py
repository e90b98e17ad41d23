"""The units of a network in training: how large each is, and gradients that pull whole units down.

All slots of a unit count: its rows, its columns, its scale and bias. ``n`` is the number of units of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunecli.coupling.axes import groups_in
from prunecli.coupling.space import Group, Space
from prunecli.criteria.views import segments_of


@dataclass(frozen=True)
class Place:
    """Where units of ``group`` lie in a dimension of a parameter: the unit of each index, ``n`` for none."""

    parameter: str
    dim: int
    group: str
    owner: Tensor
    is_batch_norm_scale: bool

    def spread(self, values: Tensor) -> Tensor:
        """``values [n]`` for every index of the dimension, 0 where it has no unit."""
        padded = torch.cat([values, values.new_zeros(1)])
        return padded[self.owner]

    def collected(self, values: Tensor, size: int) -> Tensor:
        """``values`` of every index, added up per unit: ``[n]``."""
        return values.new_zeros(size + 1).index_add_(0, self.owner, values)[:size]


class Units:
    """The units of every group of ``space`` that is not frozen, in the live parameters of ``network``.

    Parameters that are not trained are left out. ``network`` must have the sizes of ``space``.
    """

    def __init__(self, space: Space, network: nn.Module) -> None:
        self.groups: dict[str, Group] = {group.name: group for group in space.groups if group.frozen is None}
        trained = {
            name: parameter
            for name, parameter in network.named_parameters(remove_duplicate=False)
            if parameter.requires_grad and parameter.is_floating_point()
        }
        kept = (name.rpartition(".") for name, _ in network.named_buffers())
        statistics = {module for module, _, leaf in kept if leaf == "running_mean"}
        self._places: dict[str, list[Place]] = {}
        for place in _places(space, self.groups, trained, statistics):
            self._places.setdefault(place.parameter, []).append(place)
        self._parameters = {name: trained[name] for name in self._places}

    def squares(self) -> dict[tuple[str, int, str], Tensor]:
        """Per place (parameter, dimension, group) the sum of squares of each unit: ``[n]``."""
        found: dict[tuple[str, int, str], Tensor] = {}
        with torch.no_grad():
            for name, places in self._places.items():
                weight = self._parameters[name].detach()
                dims = sorted({place.dim for place in places})
                # One pass over the weights; what is summed again is smaller by the kernel's size.
                others = tuple(dim for dim in range(weight.dim()) if dim not in dims)
                squares = weight.float().square() if weight.dtype != torch.float64 else weight.square()
                kept = squares.sum(others, keepdim=True) if others else squares
                for place in places:
                    rest = tuple(dim for dim in range(weight.dim()) if dim != place.dim)
                    along = kept.sum(rest) if rest else kept
                    size = self.groups[place.group].size
                    found[name, place.dim, place.group] = place.collected(along, size)
        return found

    def norms(self) -> dict[str, Tensor]:
        """Of every group the Euclidean norm of each unit over all its slots: ``[n]``."""
        totals: dict[str, Tensor] = {}
        for (_, _, group), squares in self.squares().items():
            totals[group] = totals[group] + squares if group in totals else squares
        return {group: total.sqrt() for group, total in totals.items()}

    def pull(self, coefficients: Mapping[str, Tensor]) -> None:
        """Add ``coefficients[group][k] * w`` to the gradient of every weight of unit ``k``, in each slot."""
        with torch.no_grad():
            for name, places in self._places.items():
                weight = self._parameters[name].detach()
                factors = [
                    _along(place.spread(coefficients[place.group].to(weight)), place.dim, weight)
                    for place in places
                    if place.group in coefficients
                ]
                if factors:
                    self._add(name, sum(factors[1:], factors[0]))

    def recover(self, picked: Mapping[str, Tensor], amount: float) -> None:
        """Take ``amount * w`` from the gradient of every weight that is of some unit and of none ``picked``
        (bool ``[n]`` by group; groups without are kept whole).
        """
        with torch.no_grad():
            for name, places in self._places.items():
                held: Tensor | None = None
                for place in places:
                    size = self.groups[place.group].size
                    going = picked.get(place.group)
                    marks = torch.ones(size) if going is None else 1 - 2.0 * going.float()
                    marks = marks.to(place.owner.device)
                    each = _along(place.spread(marks), place.dim, self._parameters[name])
                    held = each if held is None else _kept(held, each)
                if held is not None:
                    self._add(name, held.clamp(min=0) * -amount)

    def pull_scales(self, strength: float) -> None:
        """Add ``strength * sign(gamma)`` to the gradient of the BatchNorm scales of all units."""
        with torch.no_grad():
            for name, places in self._places.items():
                for place in places:
                    if place.is_batch_norm_scale:
                        weight = self._parameters[name].detach()
                        owned = (place.owner < self.groups[place.group].size).to(weight.dtype)
                        self._gradient(name).add_(owned * weight.sign(), alpha=strength)

    def _add(self, name: str, factor: Tensor) -> None:
        weight = self._parameters[name].detach()
        self._gradient(name).addcmul_(weight, factor.to(weight.dtype))

    def _gradient(self, name: str) -> Tensor:
        parameter = self._parameters[name]
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        return parameter.grad


def _along(values: Tensor, dim: int, parameter: Tensor) -> Tensor:
    shape = [1] * parameter.dim()
    shape[dim] = -1
    return values.view(shape)


def _kept(one: Tensor, other: Tensor) -> Tensor:
    """Of marks (-1 picked, 1 kept, 0 neither) those of both together: picked counts first."""
    return torch.where(torch.minimum(one, other) < 0, -1.0, torch.maximum(one, other))


def _places(
    space: Space, groups: Mapping[str, Group], trained: Mapping[str, Tensor], statistics: set[str]
) -> Iterator[Place]:
    slots = dict.fromkeys((slot.parameter, slot.dim) for group in groups.values() for slot in group.slots)
    for name, dim in slots:
        if name not in trained:
            continue
        module, _, leaf = name.rpartition(".")
        scale = leaf == "weight" and module in statistics
        axis, length = space.axes[name][dim], trained[name].shape[dim]
        segments = segments_of(axis, space.sizes)
        for group in groups_in(axis):
            if group not in groups:
                continue
            size = groups[group].size
            owner = torch.full((length,), size, dtype=torch.int64)
            for segment in segments[group]:
                if segment.owner is None:
                    owner[segment.start : segment.start + size] = torch.arange(size)
                    continue
                stretch = owner[segment.start : segment.start + len(segment.owner)]
                stretch[segment.owner >= 0] = segment.owner[segment.owner >= 0]
            yield Place(name, dim, group, owner.to(trained[name].device), scale)

"""What goes together with a layer or a group, through which operators, and why something stays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from prunecli import __version__
from prunecli.assembly import evaluating
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.coupling.axes import Axis, Concat, Fixed, Units, groups_in, size_of
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Group, Space, Use
from prunecli.errors import unknown_name
from prunecli.measuring import traced_with_uses, unknown_operator_notes
from prunecli.report.model import ExplainedGroup, Explanation, SliceRow, TieRow, UseRow
from prunecli.report.rows import group_rows
from prunecli.selection.matching import layer_of
from prunecli.subjects import open_dense


def explain(
    model_or_path: nn.Module | str | Path,
    name: str,
    *,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    unsafe_load: bool = False,
) -> Explanation:
    """What goes together with ``name``: a group, a module, a parameter, or a glob over those.

    Raises ``UsageError`` with the nearest names for one that the network does not have, and ``InputError``.
    """
    clock = Clock()
    with clock.stage("read"):
        dense = open_dense(model_or_path, example_inputs, arch, arch_args, inputs, unsafe_load)
    with evaluating(dense.module), clock.stage("trace"):
        space, uses = traced_with_uses(dense)
    view = _View(space, uses, frozenset(key for key, _ in dense.module.named_buffers(remove_duplicate=False)))
    tensors = view.tensors_named(name)
    groups = view.groups_named(name, tensors)
    if not tensors and not groups:
        modules = (path for path, _ in dense.module.named_modules() if path)
        raise unknown_name("group, layer or parameter", name, {*space.sizes, *space.axes, *modules})
    return Explanation(
        version=__version__,
        checkpoint=dense.source,
        network=dense.facts,
        inputs=dense.report_inputs,
        name=name,
        slices=tuple(row for tensor in tensors for row in view.slices_of(tensor)),
        groups=tuple(view.explained(group) for group in groups),
        timings=clock.seconds,
        notes=unknown_operator_notes(space),
    )


@dataclass(frozen=True)
class _View:
    """A space with its provenance, as rows."""

    space: Space
    uses: Mapping[str, tuple[Use, ...]]
    buffers: frozenset[str]

    def tensors_named(self, name: str) -> list[str]:
        """Parameters and buffers that are called ``name``, or belong to a module that is, or match it."""
        return [
            tensor
            for tensor in self.space.axes
            if tensor.startswith(f"{name}.")
            or fnmatchcase(tensor, name)
            or fnmatchcase(layer_of(tensor), name)
        ]

    def groups_named(self, name: str, tensors: Iterable[str]) -> list[Group]:
        """The group of that name; else those that match, that ``tensors`` hold, or that pass its module."""
        if name in self.space.by_name:
            return [self.space.by_name[name]]
        held = {group for tensor in tensors for axis in self.space.axes[tensor] for group in groups_in(axis)}
        held |= {group for group, uses in self.uses.items() if any(use.where == name for use in uses)}
        return [group for group in self.space.groups if group.name in held or fnmatchcase(group.name, name)]

    def slices_of(self, tensor: str) -> list[SliceRow]:
        return [self._slice(tensor, dim) for dim in range(len(self.space.axes[tensor]))]

    def _slice(self, tensor: str, dim: int) -> SliceRow:
        axis = self.space.axes[tensor][dim]
        groups = groups_in(axis)
        reason = self._why_whole(tensor, dim, groups)
        role = self._role(tensor, dim, groups) if groups else ""
        return SliceRow(tensor, dim, size_of(axis, self.space.sizes), role, axis_in_words(axis), reason)

    def _why_whole(self, tensor: str, dim: int, groups: Sequence[str]) -> str | None:
        """Why nothing can be removed there; beside frozen groups, why the rest stays."""
        if not groups:
            return self._pins.get((tensor, dim))
        if any(self.space.by_name[name].frozen is None for name in groups):
            return None
        why = [pin.reason for pin in self.space.pieces if (pin.parameter, pin.dim) == (tensor, dim)]
        return "; ".join(why) or None

    @cached_property
    def _pins(self) -> dict[tuple[str, int], str]:
        return {(pin.parameter, pin.dim): pin.reason for pin in self.space.pinned}

    def _role(self, tensor: str, dim: int, groups: Sequence[str]) -> str:
        if tensor in self.buffers:
            return "buffer"
        slots = (slot for name in groups for slot in self.space.by_name[name].slots)
        return next((slot.role for slot in slots if (slot.parameter, slot.dim) == (tensor, dim)), "tied")

    def explained(self, group: Group) -> ExplainedGroup:
        bundle = self._bundle_of(group)
        return ExplainedGroup(
            row=group_rows(self.space, None)[list(self.space.sizes).index(group.name)],
            slices=tuple(self._slices_with(group)),
            uses=tuple(
                UseRow(use.operator, use.where, use.effect, use.times)
                for use in self.uses.get(group.name, ())
            ),
            widths=len(bundle.removals(self.space.sizes)) if bundle else 1,
            ties=_ties(bundle, group.name) if bundle else (),
            tied_by=bundle.reason if bundle else None,
            guards=tuple(
                f"{in_words(guard.left)} {guard.op} {in_words(guard.right)}, for {guard.where}"
                for guard in self.space.guards
                if group.name in guard.left.groups | guard.right.groups
            ),
            patches=tuple(self._patches(group)),
        )

    def _bundle_of(self, group: Group) -> Bundle | None:
        members = ((bundle, member.group) for bundle in self.space.bundles for member in bundle.members)
        return next((bundle for bundle, name in members if name == group.name), None)

    def _slices_with(self, group: Group) -> Iterable[SliceRow]:
        """Slots first, in order of execution; then what is cut besides."""
        slots = [(slot.parameter, slot.dim) for slot in group.slots]
        others = [
            (tensor, dim)
            for tensor, axes in self.space.axes.items()
            for dim, axis in enumerate(axes)
            if group.name in groups_in(axis) and (tensor, dim) not in slots
        ]
        return (self._slice(tensor, dim) for tensor, dim in (*slots, *others))

    def _patches(self, group: Group) -> Iterable[str]:
        for patch in self.space.patches:
            if group.name in patch.value.groups:
                owner = f"{patch.module}." if patch.module else ""
                index = "" if patch.index is None else f"[{patch.index}]"
                now = patch.value.value(self.space.sizes)
                yield f"{owner}{patch.attribute}{index} = {in_words(patch.value)} (now {now})"


def _ties(bundle: Bundle, group: str) -> tuple[TieRow, ...]:
    strides = {member.group: None if bundle.rungs else member.stride for member in bundle.members}
    return tuple(TieRow(name, strides[group], stride) for name, stride in strides.items() if name != group)


def axis_in_words(axis: Axis) -> str:
    """``3 x units of layer1.0.conv1``; parts laid end to end are joined by ``+``."""
    if isinstance(axis, Fixed):
        return str(axis.size)
    if isinstance(axis, Units):
        return f"units of {axis.group}"
    if isinstance(axis, Concat):
        return " + ".join(axis_in_words(part) for part in axis.parts)
    return " x ".join(
        f"({axis_in_words(factor)})" if isinstance(factor, Concat) else axis_in_words(factor)
        for factor in axis.factors
    )


def in_words(polynomial: Polynomial) -> str:
    """``8 x conv1 + 3``: a group's name stands for its number of units."""
    words = ""
    for monomial, coefficient in polynomial.terms.items():
        sign = ("-" if coefficient < 0 else "") if not words else (" - " if coefficient < 0 else " + ")
        factors = [str(abs(coefficient))] if abs(coefficient) != 1 or not monomial else []
        words += sign + " x ".join((*factors, *monomial))
    return words or "0"

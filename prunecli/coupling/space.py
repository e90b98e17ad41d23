"""``Space``: which parameter slices of a network can only be removed together, as a plain immutable value.

A ``Space`` comes from :func:`prunecli.coupling.trace`; a :class:`~prunecli.plan.Plan` says what to keep of
it. Nothing here touches a module or runs a network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from prunecli.coupling.axes import Axis
from prunecli.coupling.cost import Polynomial

Role = Literal["out", "in", "norm", "bias", "other"]
Effect = Literal["makes", "takes", "joins", "passes"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One dimension of one parameter that holds units of a group.

    ``role``: ``out`` (a unit is an output row of a convolution or linear weight), ``in`` (an input column),
    ``norm`` (gamma, beta), ``bias``, ``other`` (class token, position table, layer scale...).
    Buffers (running statistics) are cut like parameters but never scored, so they are not slots.
    """

    parameter: str
    dim: int
    role: Role


@dataclass(frozen=True, slots=True)
class Group:
    """``size`` units that can be removed one by one; each removes one slice from every slot.

    ``slots`` are in execution order. ``frozen`` is the reason why the group is left whole, or None.
    ``value_changing`` is set where removal legitimately changes more than the removed units (a LayerNorm over
    the axis, a softmax scale): equality with the masked network is then not to be expected.
    """

    name: str
    size: int
    slots: tuple[Slot, ...]
    kind: str = "channels"
    frozen: str | None = None
    value_changing: str | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A group in a bundle: one step removes ``stride`` of its units."""

    group: str
    stride: int


@dataclass(frozen=True, slots=True)
class Bundle:
    """Groups that must lose units in a fixed proportion (``chunk``, ``C == heads * head_dim``).

    Selection removes whole steps: ``stride`` units of every member at once; the members' sizes themselves
    need not be in that proportion. A group without such a constraint is a bundle of one member with stride
    1. Every group that is not frozen is in exactly one bundle.

    Where sizes are tied by more than a proportion (``C == heads * head_dim``, all free), ``rungs`` lists the
    only joint removals that are possible: units removed from each member, every rung more than the last.
    """

    members: tuple[Member, ...]
    reason: str | None = None
    rungs: tuple[tuple[int, ...], ...] = ()

    def removals(self, sizes: Mapping[str, int]) -> tuple[tuple[int, ...], ...]:
        """Units removed from each member at every width the bundle can have, from none upwards; at least one
        stays.
        """
        none = (0,) * len(self.members)
        if self.rungs:
            return (none, *self.rungs)
        most = min((sizes[m.group] - 1) // m.stride for m in self.members)
        return tuple(tuple(m.stride * step for m in self.members) for step in range(most + 1))

    def after(self, removed: Mapping[str, int]) -> Bundle:
        """The bundle once ``removed`` units are gone from its groups."""
        if not self.rungs:
            return self
        gone = tuple(removed.get(member.group, 0) for member in self.members)
        later = [tuple(a - b for a, b in zip(rung, gone, strict=True)) for rung in self.rungs]
        rungs = tuple(rung for rung in later if min(rung) >= 0 and max(rung) > 0)
        return replace(self, rungs=rungs or ((0,) * len(gone),))


@dataclass(frozen=True, slots=True)
class Guard:
    """A fact ``forward`` relied on: ``left <op> right`` held at trace time and must still hold.

    ``op`` is one of ``== != < <= > >= %0`` (``%0``: left divisible by right).
    """

    left: Polynomial
    op: str
    right: Polynomial
    where: str

    def holds(self, sizes: Mapping[str, int]) -> bool:
        a, b = self.left.value(sizes), self.right.value(sizes)
        return {
            "==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b,
            "%0": b != 0 and a % b == 0,
        }[self.op]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patch:
    """A module attribute that follows the sizes: ``module.attribute`` (``[index]`` of a tuple, if given)."""

    module: str
    attribute: str
    index: int | None
    value: Polynomial


@dataclass(frozen=True, slots=True)
class Use:
    """``operator`` saw the units of a group ``times`` times in the ``forward`` of the module ``where``.

    ``effect``: it ``makes`` them (they are not in what it is given, beside weights), ``takes`` them (they are
    not in its result), ``joins`` (several of the things it is given have them), or ``passes`` them on.
    """

    operator: str
    where: str
    effect: Effect
    times: int = 1


@dataclass(frozen=True, slots=True)
class PinnedDim:
    """A parameter dimension that cannot be cut, with the reason."""

    parameter: str
    dim: int
    reason: str


@dataclass(frozen=True)
class Space:
    """Everything selection and surgery need to know of a network.

    ``axes`` has one expression per dimension of every parameter and buffer, keyed by its state_dict name;
    ``macs`` and ``params`` are polynomials in the group sizes (multiply-adds as fvcore counts them at batch
    1, and number of parameter elements). ``other_macs`` is the share of norms, pooling and resizing in
    ``macs``. ``pieces`` are why the rest of a dimension stays, beside the units of groups in it (the size of
    a head, beside the number of heads).
    """

    groups: tuple[Group, ...]
    axes: Mapping[str, tuple[Axis, ...]]
    bundles: tuple[Bundle, ...]
    guards: tuple[Guard, ...]
    patches: tuple[Patch, ...]
    pinned: tuple[PinnedDim, ...]
    macs: Polynomial
    params: Polynomial
    other_macs: Polynomial = field(default_factory=lambda: Polynomial({}))
    unknown_operators: tuple[str, ...] = ()
    pieces: tuple[PinnedDim, ...] = ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Present number of units per group."""
        return {group.name: group.size for group in self.groups}

    @cached_property
    def by_name(self) -> dict[str, Group]:
        return {group.name: group for group in self.groups}

    def resized(self, sizes: Mapping[str, int]) -> Space:
        """The same space with other group sizes: what is left after a cut, without a new trace."""
        groups = tuple(replace(group, size=sizes.get(group.name, group.size)) for group in self.groups)
        removed = {name: size - sizes.get(name, size) for name, size in self.sizes.items()}
        return replace(self, groups=groups, bundles=tuple(bundle.after(removed) for bundle in self.bundles))

    def frozen(self, reasons: Mapping[str, str]) -> Space:
        """The same space with the groups in ``reasons`` frozen, and bundles that hold one of them dropped."""
        lost = {
            member.group: f"its size is tied to {name}, which is frozen"
            for bundle in self.bundles
            for name in [m.group for m in bundle.members if m.group in reasons][:1]
            for member in bundle.members
        } | dict(reasons)
        groups = tuple(replace(group, frozen=group.frozen or lost.get(group.name)) for group in self.groups)
        bundles = tuple(b for b in self.bundles if not any(m.group in lost for m in b.members))
        return replace(self, groups=groups, bundles=bundles)

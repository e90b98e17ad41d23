"""Which units of which groups can go without a change of the function, and why others that do nothing stay.

A unit does nothing where every weight that reads it is zero, or what arrives there is the same whatever the
input is. It can go if what it gives can go elsewhere: into the bias of the reading operation, or the mean of
the norm behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prunecli.coupling.axes import kept_indices, owners
from prunecli.coupling.space import Bundle, Group, Slot, Space, Use
from prunecli.dead.readings import Reading, Readings

Keep = Mapping[str, Sequence[int]]

TAKES = frozenset({"convolution", "addmm", "mm", "bmm", "linear"})
"""Where units end in a product with weights, which are looked at."""

JOINS = frozenset({"add", "sub", "mul", "div", "cat", "stack", "where", "maximum", "minimum", "convolution"})
"""Where units of the same number meet, and go on."""

NO_PLACE = "no bias and no norm behind takes the constant that '{}' reads"
BORDER = "what it gives is a constant, but meets the zeros around the padded convolution '{}'"
UNEVEN = "what it gives is a constant, but another one at the border of a padded convolution"
UNFOLLOWED = "'{}' is not followed: {}"
NOT_REACHED = "'{}' reads it in train mode only"
LAST = "one unit of a group always stays"
HIDDEN = "it takes part in a product of activations, or in a sum over units"


@dataclass(frozen=True)
class Dead:
    """What was found in one group: the units that can go (ascending), and why others that do nothing stay."""

    can_go: tuple[int, ...] = ()
    stays: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """``keep``: of the groups that lose units, in the numbers that ties between groups admit. ``stays``: by
    group, the units that do nothing and stay, with the reason.
    """

    keep: dict[str, tuple[int, ...]]
    stays: dict[str, dict[int, str]]


@dataclass(frozen=True)
class Search:
    """``tensors`` are those of the dense network; ``uses`` says which operators units went
    through.
    """

    space: Space
    tensors: Mapping[str, Tensor]
    readings: Readings
    uses: Mapping[str, Sequence[Use]]
    _patterns: dict[str, Tensor] = field(default_factory=dict)

    def found(self) -> Found:
        """What reads nothing but units that go is not read either, so the search goes on until it finds no
        more.
        """
        keep: dict[str, tuple[int, ...]] = {}
        while True:
            dead = {group.name: self._dead(group, keep) for group in self.space.groups}
            later, tied = self._admitted(dead, keep)
            if sum(map(len, later.values())) == sum(map(len, keep.values())) and later.keys() == keep.keys():
                return Found(keep, _staying(dead, keep, tied, self.space))
            keep = later

    def _dead(self, group: Group, keep: Keep) -> Dead:
        read = [slot for slot in group.slots if slot.role == "in"]
        silent = self._silent(group)
        dead = torch.ones_like(silent) if read else silent.clone()
        why: dict[int, str] = {}
        for slot in read:
            dead &= self._dead_at(group, slot, keep, silent, why)
        if self._is_hidden(group):
            _explain(why, dead & ~silent, HIDDEN)
        reason = group.frozen or group.value_changing
        units = dead.nonzero().flatten().tolist()
        if reason is not None:
            return Dead((), dict.fromkeys(units, reason))
        return Dead(
            tuple(unit for unit in units if unit not in why),
            {unit: why[unit] for unit in units if unit in why},
        )

    def _dead_at(self, group: Group, slot: Slot, keep: Keep, silent: Tensor, why: dict[int, str]) -> Tensor:
        """Which units do nothing at ``slot``; those that cannot go for it get a reason in ``why``."""
        name, dim = slot.parameter, slot.dim
        owner = owners(self.space.axes[name][dim], self.space.sizes, group.name)
        dead = torch.ones(group.size, dtype=torch.bool)
        readings = self.readings.of.get(name, ())
        if name in self.readings.unfollowed:
            _explain(why, dead, UNFOLLOWED.format(name, self.readings.unfollowed[name]))
            return _by_unit(~self._nonzero(name, dim, keep), owner, group.size)
        if not readings:
            unread = _by_unit(~self._nonzero(name, dim, keep), owner, group.size)
            _explain(why, ~unread & ~silent, NOT_REACHED.format(name))
        for reading in readings:
            place = reading.inputs_along(dim)
            if place is None:
                return torch.zeros(group.size, dtype=torch.bool)
            start, count, follows = place
            here = owner[start : start + count]
            reads = self._reads(reading, keep)
            for condition, reason in _verdicts(reading, reads):
                fits = condition.flatten() if follows else condition.all(0)
                fits = _by_unit(fits, here, group.size)
                if reason is None:
                    dead &= fits
                else:
                    _explain(why, ~fits, reason)
        return dead

    def _reads(self, reading: Reading, keep: Keep) -> Tensor:
        """``[G, I/G]``: whether an output that stays has a weight there."""
        return reading.matrix(self._pattern(reading.name, keep)).any(3).any(1)

    def _pattern(self, name: str, keep: Keep) -> Tensor:
        """Where the parameter is not zero, without what goes."""
        if name not in self._patterns:
            self._patterns[name] = self.tensors[name] != 0
        pattern = self._patterns[name]
        for dim, axis in enumerate(self.space.axes.get(name, ())):
            kept = kept_indices(axis, self.space.sizes, keep)
            if len(kept) < pattern.shape[dim]:
                gone = torch.ones(pattern.shape[dim], dtype=torch.bool)
                gone[kept] = False
                pattern = pattern.index_fill(dim, gone.nonzero().flatten(), False)
        return pattern

    def _nonzero(self, name: str, dim: int, keep: Keep) -> Tensor:
        rows = self._pattern(name, keep).movedim(dim, 0)
        return rows.reshape(rows.shape[0], -1).any(1)

    def _silent(self, group: Group) -> Tensor:
        """Units whose parameters, but for those that read them, are all zero: to mask them changes
        nothing.
        """
        silent = torch.ones(group.size, dtype=torch.bool)
        for slot in group.slots:
            if slot.role == "in":
                continue
            owner = owners(self.space.axes[slot.parameter][slot.dim], self.space.sizes, group.name)
            silent &= _by_unit(~self._nonzero(slot.parameter, slot.dim, {}), owner, group.size)
        return silent

    def _is_hidden(self, group: Group) -> bool:
        """Whether units are taken by something else than weights."""
        for use in self.uses.get(group.name, ()):
            operator = use.operator.removeprefix("aten.").removesuffix("_")
            if (use.effect == "takes" and operator not in TAKES) or (
                use.effect == "joins" and operator not in JOINS
            ):
                return True
        return False

    def _admitted(
        self, dead: Mapping[str, Dead], before: Keep
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
        """As many of the units that can go as sizes allow, and by group why not all. What went before goes
        first.
        """
        chosen: dict[str, tuple[int, ...]] = {}
        tied: dict[str, str] = {}
        most = {bundle: self._rungs(bundle, dead, tied) for bundle in self.space.bundles}
        while True:
            chosen = {}
            for bundle, rungs in most.items():
                for member, number in zip(bundle.members, rungs[-1], strict=True):
                    if number:
                        chosen[member.group] = self._kept(member.group, dead, before, number)
            sizes = {**self.space.sizes, **{name: len(kept) for name, kept in chosen.items()}}
            broken = [guard for guard in self.space.guards if not guard.holds(sizes)]
            if not broken:
                return chosen, tied
            about = {name for guard in broken for name in guard.left.groups | guard.right.groups}
            for bundle, rungs in most.items():
                if len(rungs) > 1 and any(member.group in about for member in bundle.members):
                    rungs.pop()
                    why = f"{broken[0].where} relies on its size"
                    tied.update(dict.fromkeys((m.group for m in bundle.members), why))

    def _rungs(self, bundle: Bundle, dead: Mapping[str, Dead], tied: dict[str, str]) -> list[tuple[int, ...]]:
        """The joint removals that the units which can go suffice for, from none upwards."""
        whole = next(
            (
                group for member in bundle.members
                if (group := self.space.by_name[member.group]).value_changing is not None
            ),
            None,
        )  # fmt: skip
        able = [0 if whole is not None else len(dead[member.group].can_go) for member in bundle.members]
        rungs = [
            rung for rung in bundle.removals(self.space.sizes)
            if all(number <= most for number, most in zip(rung, able, strict=True))
        ]  # fmt: skip
        for member in bundle.members:
            others = [other.group for other in bundle.members if other.group != member.group]
            if others:
                size = "its size is tied to that of " + ", ".join(others[:3])
                tied[member.group] = size + ("" if whole is None else f": {whole.value_changing}")
        return rungs

    def _kept(self, name: str, dead: Mapping[str, Dead], before: Keep, number: int) -> tuple[int, ...]:
        size = self.space.sizes[name]
        earlier = set(range(size)) - set(before.get(name, range(size)))
        going = sorted(dead[name].can_go, key=lambda unit: (unit not in earlier, unit))[:number]
        return tuple(sorted(set(range(size)) - set(going)))


def _verdicts(reading: Reading, reads: Tensor) -> list[tuple[Tensor, str | None]]:
    """Conditions on inputs ``[G, I/G]``: the first for doing nothing, the others for being able to go, each
    with the reason where it does not hold.
    """
    silent = ~reads | (reading.arrives == 0)
    constant = ~reading.arrives.isnan()
    even = torch.full_like(silent, reading.even)
    placed = torch.full_like(silent, reading.place is not None)
    return [
        (~reads | reading.dead, None),
        (silent | constant, UNEVEN),
        (silent | ~constant | even, BORDER.format(reading.name)),
        (silent | ~constant | ~even | placed, NO_PLACE.format(reading.name)),
    ]


def _by_unit(fits: Tensor, owner: Tensor, size: int) -> Tensor:
    """``[size]``: whether all indices of a unit fit. A unit without an index here does."""
    against = owner[~fits & (owner >= 0)]
    result = torch.ones(size, dtype=torch.bool)
    result[against] = False
    return result


def _explain(why: dict[int, str], units: Tensor, reason: str) -> None:
    why.update((unit, why.get(unit, reason)) for unit in units.nonzero().flatten().tolist())


def _staying(
    dead: Mapping[str, Dead], keep: Keep, tied: Mapping[str, str], space: Space
) -> dict[str, dict[int, str]]:
    stays = {name: dict(found.stays) for name, found in dead.items()}
    for name, found in dead.items():
        kept = set(keep.get(name, range(space.sizes[name])))
        reason = tied.get(name, LAST)
        stays[name].update((unit, reason) for unit in found.can_go if unit in kept)
    return {name: units for name, units in stays.items() if units}

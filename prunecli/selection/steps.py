"""Removal steps: every bundle's units from least to most important, grouped into the widths it may stop at.

Letters in shapes: ``G`` groups, ``B`` bundles, ``S`` steps over all bundles, ``n`` units of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunecli.coupling.space import Bundle, Guard, Space
from prunecli.criteria import Scores
from prunecli.selection.cost import Floats, Ints


@dataclass(frozen=True)
class Steps:
    """``levels[b]`` are the places, in the bundle's removals, of the widths that bundle ``b`` may have, from
    0 upwards, or of the one width that it has to have; step ``j`` of the bundle leads from level ``j`` to
    ``j + 1``. Steps of a bundle lie together, in order: ``bundle``, ``score`` and ``fraction`` (of the
    bundle's dense units, removed once the step is done) are ``[S]``; ``first`` (``[B]``) is where each
    bundle's begin. ``removal[g]`` lists the units of ``g``, least important first; how many of them are gone
    at place ``p`` is ``gone[gone_from[g] + p]``.
    """

    names: tuple[str, ...]
    sizes: Ints
    gone: Ints
    gone_from: Ints
    bundle_of: Ints
    levels: tuple[Ints, ...]
    bundle: Ints
    score: Floats
    fraction: Floats
    removal: Mapping[str, Ints]

    @property
    def first(self) -> Ints:
        counts = np.array([len(levels) - 1 for levels in self.levels], dtype=np.int64)
        return np.cumsum(counts) - counts

    @property
    def highest(self) -> Ints:
        """The last level of each bundle."""
        return np.array([len(levels) - 1 for levels in self.levels], dtype=np.int64)

    def reached(self, order: Ints, prefix: int) -> Ints:
        """The level of each bundle (``[B]``) after the first ``prefix`` steps of ``order``."""
        return np.bincount(self.bundle[order[:prefix]], minlength=len(self.levels)).astype(np.int64)

    def sizes_at(self, level: Ints) -> Ints:
        """Group sizes (``[G]``) when each bundle is at ``level``."""
        places = np.array([lv[j] for lv, j in zip(self.levels, level, strict=True)] + [0], dtype=np.int64)
        left: Ints = self.sizes - self.gone[self.gone_from + places[self.bundle_of]]
        return left

    def keep_at(self, level: Ints) -> dict[str, tuple[int, ...]]:
        """Kept units, ascending, of every group that loses some."""
        left = self.sizes_at(level)
        keep = {}
        for name, before, size in zip(self.names, self.sizes, left, strict=True):
            if size < before:
                keep[name] = tuple(np.sort(self.removal[name][before - size :]).tolist())
        return keep


def build_steps(
    space: Space,
    scores: Scores,
    dense: Mapping[str, int],
    floors: Mapping[str, int],
    quanta: Mapping[str, int],
    enforced: Sequence[Guard] = (),
    wanted: Mapping[str, float] | None = None,
) -> Steps:
    """All steps that ``floors`` (fewest units), ``quanta`` (divisors of unit counts) and guards allow.

    A bundle with a group in ``wanted`` (units to keep) has no steps: its only level is the one nearest to
    that.
    """
    names = tuple(space.sizes)
    position = {name: index for index, name in enumerate(names)}
    gone_from, bundle_of = np.zeros(len(names), dtype=np.int64), np.full(len(names), -1, dtype=np.int64)
    columns: list[Ints] = [np.zeros(1, dtype=np.int64)]
    removal: dict[str, Ints] = {}
    levels, owner, score, fraction = [], [], [], []
    for index, bundle in enumerate(space.bundles):
        gone = np.array(bundle.removals(space.sizes), dtype=np.int64)
        for member, column in zip(bundle.members, gone.T, strict=True):
            gone_from[position[member.group]] = sum(map(len, columns))
            bundle_of[position[member.group]] = index
            columns.append(column)
        totals = _stage_scores(bundle, gone, scores, removal)
        allowed = _allowed_levels(space, bundle, gone, floors, quanta, enforced)
        if any(member.group in (wanted or {}) for member in bundle.members):
            allowed = _nearest_level(space, bundle, gone, allowed, wanted or {})
        levels.append(allowed)
        owner.append(np.full(len(allowed) - 1, index, dtype=np.int64))
        score.append(_level_scores(totals, gone.sum(1), allowed))
        lead = bundle.members[0].group
        fraction.append((dense[lead] - space.sizes[lead] + gone[allowed[1:], 0]) / dense[lead])
    return Steps(
        names, np.array([space.sizes[n] for n in names], dtype=np.int64), np.concatenate(columns), gone_from,
        bundle_of, tuple(levels),
        np.concatenate([np.zeros(0, dtype=np.int64), *owner]), np.concatenate([np.zeros(0), *score]),
        np.concatenate([np.zeros(0), *fraction]), removal,
    )  # fmt: skip


def _stage_scores(bundle: Bundle, gone: Ints, scores: Scores, removal: dict[str, Ints]) -> Floats:
    """Summed scores of the units that each stage of ``gone`` (``[P, members]``) removes, ``[P - 1]``; notes
    the order of removal of every member.
    """
    total = np.zeros(len(gone) - 1)
    for member, column in zip(bundle.members, gone.T, strict=True):
        values = scores.by_group[member.group].numpy().astype(np.float64)
        removal[member.group] = np.argsort(values, kind="stable")
        ascending = values[removal[member.group]]
        for stage in range(1, int(np.diff(column).max(initial=0)) + 1):
            # The stage-th unit of every stage that removes that many.
            removes = np.flatnonzero(np.diff(column) >= stage)
            total[removes] += ascending[column[removes] + stage - 1]
    return total


def _level_scores(totals: Floats, counts: Ints, allowed: Ints) -> Floats:
    """Mean score of the units between neighbouring levels, ascending."""
    if len(allowed) == 1:
        return np.zeros(0)
    sums = np.add.reduceat(totals[: allowed[-1]], allowed[:-1])
    # Rounding of the means must not put a later step before an earlier one.
    ascending: Floats = np.maximum.accumulate(sums / np.diff(counts[allowed]))
    return ascending


def _allowed_levels(
    space: Space,
    bundle: Bundle,
    gone: Ints,
    floors: Mapping[str, int],
    quanta: Mapping[str, int],
    enforced: Sequence[Guard],
) -> Ints:
    """Places in ``gone`` (``[P, members]``) at which the bundle may stop: 0, and those that break no rule."""
    within = np.ones(len(gone), dtype=bool)
    fits = np.ones(len(gone), dtype=bool)
    for member, column in zip(bundle.members, gone.T, strict=True):
        left = space.sizes[member.group] - column
        within &= left >= floors[member.group]
        fits &= left % quanta[member.group] == 0
    if fits.any():
        within &= fits
    inside = {member.group for member in bundle.members}
    for guard in enforced:
        if inside & (guard.left.groups | guard.right.groups):
            within &= [guard.holds(_sizes_after(space, bundle, row)) for row in gone]
    within[0] = True
    return np.flatnonzero(within)


def _nearest_level(
    space: Space, bundle: Bundle, gone: Ints, allowed: Ints, wanted: Mapping[str, float]
) -> Ints:
    """The one of ``allowed`` (as ``[1]``) that is nearest to ``wanted``; of two, the one that leaves more."""
    missed = np.zeros(len(allowed))
    for member, column in zip(bundle.members, gone.T, strict=True):
        if member.group in wanted:
            size = space.sizes[member.group]
            missed += np.abs(size - column[allowed] - wanted[member.group]) / size
    # Two neighbours at the same distance differ by rounding alone.
    return allowed[[int(np.flatnonzero(missed <= missed.min() + 1e-9)[0])]]


def _sizes_after(space: Space, bundle: Bundle, removed: Ints) -> dict[str, int]:
    left = {m.group: space.sizes[m.group] - int(n) for m, n in zip(bundle.members, removed, strict=True)}
    return space.sizes | left

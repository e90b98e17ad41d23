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
    """``levels[b]`` counts the strides removed at each width that bundle ``b`` may have, from 0 upwards, or
    at the one width that it has to have; step ``j`` of the bundle leads from level ``j`` to ``j + 1``. Steps
    of a bundle lie together, in order: ``bundle``, ``score`` and ``fraction`` (of the bundle's dense units,
    removed once the step is done) are ``[S]``; ``first`` (``[B]``) is where each bundle's begin.
    ``removal[g]`` lists the units of ``g``, least important first.
    """

    names: tuple[str, ...]
    sizes: Ints
    stride: Ints
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
        strides = np.array([lv[j] for lv, j in zip(self.levels, level, strict=True)] + [0], dtype=np.int64)
        return self.sizes - self.stride * strides[self.bundle_of]

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
    stride, bundle_of = np.zeros(len(names), dtype=np.int64), np.full(len(names), -1, dtype=np.int64)
    removal: dict[str, Ints] = {}
    levels, owner, score, fraction = [], [], [], []
    for index, bundle in enumerate(space.bundles):
        for member in bundle.members:
            stride[position[member.group]] = member.stride
            bundle_of[position[member.group]] = index
        means = _stride_scores(bundle, scores, removal, space.sizes)
        allowed = _allowed_levels(space, bundle, len(means), floors, quanta, enforced)
        if any(member.group in (wanted or {}) for member in bundle.members):
            allowed = _nearest_level(space, bundle, allowed, wanted or {})
        levels.append(allowed)
        owner.append(np.full(len(allowed) - 1, index, dtype=np.int64))
        score.append(_level_scores(means, allowed))
        lead = bundle.members[0]
        gone = dense[lead.group] - space.sizes[lead.group] + lead.stride * allowed[1:]
        fraction.append(gone / dense[lead.group])
    return Steps(
        names, np.array([space.sizes[n] for n in names], dtype=np.int64), stride, bundle_of, tuple(levels),
        np.concatenate([np.zeros(0, dtype=np.int64), *owner]), np.concatenate([np.zeros(0), *score]),
        np.concatenate([np.zeros(0), *fraction]), removal,
    )  # fmt: skip


def _stride_scores(
    bundle: Bundle, scores: Scores, removal: dict[str, Ints], sizes: Mapping[str, int]
) -> Floats:
    """Mean score of the units that each stride removes; notes the order of removal of every member."""
    count = min(sizes[member.group] // member.stride for member in bundle.members)
    total = np.zeros(count)
    for member in bundle.members:
        values = scores.by_group[member.group].numpy().astype(np.float64)
        order = np.argsort(values, kind="stable")
        removal[member.group] = order
        total += values[order][: count * member.stride].reshape(count, member.stride).sum(1)
    mean: Floats = total / sum(member.stride for member in bundle.members)
    return mean


def _level_scores(means: Floats, allowed: Ints) -> Floats:
    """Mean score of the strides between neighbouring levels, ascending."""
    if len(allowed) == 1:
        return np.zeros(0)
    totals = np.add.reduceat(means[: allowed[-1]], allowed[:-1])
    # Rounding of the means must not put a later step before an earlier one.
    ascending: Floats = np.maximum.accumulate(totals / np.diff(allowed))
    return ascending


def _allowed_levels(
    space: Space,
    bundle: Bundle,
    count: int,
    floors: Mapping[str, int],
    quanta: Mapping[str, int],
    enforced: Sequence[Guard],
) -> Ints:
    """Numbers of strides removed at which the bundle may stop: 0, and those that break no rule."""
    strides = np.arange(count, dtype=np.int64)  # at least one stride stays
    within = np.ones(count, dtype=bool)
    fits = np.ones(count, dtype=bool)
    for member in bundle.members:
        left = space.sizes[member.group] - member.stride * strides
        within &= left >= floors[member.group]
        fits &= left % quanta[member.group] == 0
    if fits.any():
        within &= fits
    inside = {member.group for member in bundle.members}
    for guard in enforced:
        if inside & (guard.left.groups | guard.right.groups):
            within &= [guard.holds(_sizes_after(space, bundle, int(k))) for k in strides]
    within[0] = True
    return np.flatnonzero(within)


def _nearest_level(space: Space, bundle: Bundle, allowed: Ints, wanted: Mapping[str, float]) -> Ints:
    """The one of ``allowed`` (as ``[1]``) that is nearest to ``wanted``; of two, the one that leaves more."""
    missed = np.zeros(len(allowed))
    for member in bundle.members:
        if member.group in wanted:
            size = space.sizes[member.group]
            missed += np.abs(size - member.stride * allowed - wanted[member.group]) / size
    # Two neighbours at the same distance differ by rounding alone.
    return allowed[[int(np.flatnonzero(missed <= missed.min() + 1e-9)[0])]]


def _sizes_after(space: Space, bundle: Bundle, strides: int) -> dict[str, int]:
    changed = {m.group: space.sizes[m.group] - m.stride * strides for m in bundle.members}
    return space.sizes | changed

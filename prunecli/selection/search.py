"""Hitting a target: bisection on the prefix of a step order, then corrections of single steps."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from prunecli.selection.cost import CompiledCost, Floats, Ints
from prunecli.selection.steps import Steps

_CORRECTIONS = 32
_SKIPS = 16
_PAIRED_MOVES = 800  # pairs of more moves than this would not fit the time of a selection
_EXAMINED_PAIRS = 32


@dataclass(frozen=True)
class Moves:
    """Single steps taken further (``+1``) or taken back (``-1``), from the present levels."""

    bundle: Ints
    direction: Ints
    change: Floats  # of the cost
    distance: Ints  # in the order of steps, from the threshold

    def within(self, reach: int) -> Moves:
        near = self.distance <= reach
        return Moves(self.bundle[near], self.direction[near], self.change[near], self.distance[near])


def first_prefix(steps: Steps, order: Ints, cost: CompiledCost, goal: float) -> int:
    """The shortest prefix of ``order`` that costs at most ``goal``, or one more than there are steps."""
    prefixes = range(len(order) + 1)
    return bisect_left(prefixes, -goal, key=lambda p: -cost.value(steps.sizes_at(steps.reached(order, p))))


def hit(steps: Steps, order: Ints, cost: CompiledCost, goal: float, tolerance: float) -> Ints:
    """Levels (``[B]``) whose cost is nearest to ``goal``, not more than ``tolerance`` above if possible."""
    prefix = first_prefix(steps, order, cost, goal)
    enough = steps.reached(order, prefix)
    if prefix > len(order) or prefix == 0:
        return enough
    aim, allowed = goal * min(tolerance, 0.005) / 5, goal * tolerance / 2
    start = _without_coarse_steps(steps, order, cost, goal, aim)
    # Steps near the threshold first: only a target missed by much is worth a unit that scores far from it.
    near = max(2 * len(steps.levels), len(order) // 20)
    level = _corrected(steps, order, prefix, cost, goal, start, aim, near)
    if abs(cost.value(steps.sizes_at(level)) - goal) > allowed:
        level = _corrected(steps, order, prefix, cost, goal, level, allowed, len(order))
    return level if cost.value(steps.sizes_at(level)) <= goal * (1 + tolerance) else enough


def _without_coarse_steps(steps: Steps, order: Ints, cost: CompiledCost, goal: float, aim: float) -> Ints:
    """The best level found by walking the order, each time without the bundle whose step crosses ``goal``.

    A bundle of long strides (a residual stream tied to a head count) can be worth a hundred others: it
    then stops before the goal, and the walk goes on in finer steps.
    """
    best, error = steps.reached(order, 0), float("inf")
    for _ in range(_SKIPS):
        prefix = first_prefix(steps, order, cost, goal)
        if not 0 < prefix <= len(order):
            break
        for level in (steps.reached(order, prefix), steps.reached(order, prefix - 1)):
            missed = abs(cost.value(steps.sizes_at(level)) - goal)
            best, error = (level, missed) if missed < error else (best, error)
        if error <= aim:
            break
        later = np.arange(len(order)) >= prefix - 1
        order = order[~(later & (steps.bundle[order] == steps.bundle[order[prefix - 1]]))]
    return best


def _corrected(
    steps: Steps,
    order: Ints,
    prefix: int,
    cost: CompiledCost,
    goal: float,
    level: Ints,
    accepted: float,
    reach: int,
) -> Ints:
    """``level`` moved by single steps, at most ``reach`` from the threshold, until within ``accepted``."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    error = cost.value(steps.sizes_at(level)) - goal
    for _ in range(_CORRECTIONS):
        if abs(error) <= accepted:
            break
        moves = _moves(steps, rank, prefix, cost, level).within(reach)
        better = _best_single(moves, level, error, accepted)
        changed = cost.value(steps.sizes_at(better)) - goal
        if abs(changed) > accepted:
            pair = _best_pair(steps, moves, cost, goal, level, error)
            paired = cost.value(steps.sizes_at(pair)) - goal
            better, changed = (pair, paired) if abs(paired) < abs(changed) else (better, changed)
        if abs(changed) >= abs(error):
            break
        level, error = better, changed
    return level


def _moves(steps: Steps, rank: Ints, prefix: int, cost: CompiledCost, level: Ints) -> Moves:
    """Every step that can be taken or taken back, with its exact change of the cost."""
    parts = []
    sizes = steps.sizes_at(level)
    for direction in (1, -1):
        target = np.clip(level + direction, 0, steps.highest)
        changes = cost.changes(sizes, steps.sizes_at(target) - sizes)
        bundles = np.flatnonzero(target != level)
        step = steps.first[bundles] + np.minimum(level, target)[bundles]
        parts.append(
            (bundles, np.full(len(bundles), direction), changes[bundles], np.abs(rank[step] - prefix))
        )
    bundle, direction_of, change, distance = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Moves(bundle, direction_of, change, distance)


def _best_single(moves: Moves, level: Ints, error: float, accepted: float) -> Ints:
    """The move that lands closest; of those that land close enough, the one nearest to the threshold."""
    if not len(moves.bundle):
        return level
    errors = np.abs(error + moves.change)
    good = np.flatnonzero(errors <= accepted)
    best = good[np.argmin(moves.distance[good])] if len(good) else np.argmin(errors)
    return _applied(level, moves, [int(best)])


def _best_pair(
    steps: Steps, moves: Moves, cost: CompiledCost, goal: float, level: Ints, error: float
) -> Ints:
    """The best of the pairs whose separate changes add up closest to what is missing."""
    count = len(moves.bundle)
    if not 2 <= count <= _PAIRED_MOVES:
        return level
    a, b = np.triu_indices(count, 1)
    apart = moves.bundle[a] != moves.bundle[b]
    a, b = a[apart], b[apart]
    nearest = np.argsort(np.abs(error + moves.change[a] + moves.change[b]), kind="stable")[:_EXAMINED_PAIRS]
    pairs = [_applied(level, moves, [int(a[i]), int(b[i])]) for i in nearest]
    return min(pairs, key=lambda pair: abs(cost.value(steps.sizes_at(pair)) - goal), default=level)


def _applied(level: Ints, moves: Moves, chosen: list[int]) -> Ints:
    result: Ints = level.copy()
    result[moves.bundle[chosen]] += moves.direction[chosen]
    return result

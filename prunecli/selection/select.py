"""``select``: scores become kept units, for one round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunecli.coupling.space import Guard, Space
from prunecli.criteria import Scores
from prunecli.errors import ImpossibleError
from prunecli.selection.cost import CompiledCost, Ints
from prunecli.selection.rounding import quanta
from prunecli.selection.schemes import Scheme, find_scheme
from prunecli.selection.search import first_prefix, hit
from prunecli.selection.steps import Steps, build_steps
from prunecli.selection.target import Limits, Target


@dataclass(frozen=True)
class Selection:
    """``keep``: kept units per group that loses some, in the numbering of the space given; ``sizes``: of
    every group afterwards; ``figure``: what was reached, in the target's terms; ``whole``: groups that the
    limits leave no room in, with the reason."""

    keep: Mapping[str, tuple[int, ...]]
    sizes: Mapping[str, int]
    figure: float
    whole: Mapping[str, str]
    notes: tuple[str, ...]


def select(
    space: Space,
    scores: Scores,
    *,
    scheme: str,
    target: Target,
    limits: Limits | None = None,
    dense: Mapping[str, int] | None = None,
    tolerance: float = 0.005,
    share: float = 1.0,
    enforced: Sequence[Guard] = (),
) -> Selection:
    """Choose what to keep so that the cost is that of ``target`` (or ``share`` of the way there).

    ``dense`` are the group sizes of the dense network, to which the target and the limits refer (default:
    those of ``space``). Raises ``ImpossibleError`` with the best reachable figure where the limits forbid it.
    """
    chosen, limits, dense = find_scheme(scheme), limits or Limits(), dense or space.sizes
    multiples, unreachable = quanta(space, limits.round_to)
    floors = limits.floors(dense, protected=chosen.protects)
    steps = build_steps(space, scores, dense, floors, multiples, enforced)
    counted = [member.group for bundle in space.bundles for member in bundle.members]
    polynomial = target.cost(space, counted)
    cost = CompiledCost(polynomial, steps.names, dense, steps.bundle_of)
    dense_cost = polynomial.value(dense)
    goal = target.part(share).goal(dense_cost)
    _require_reachable(space, steps, cost, target, limits, chosen, dense_cost, tolerance)
    order = chosen.order(steps)
    if chosen.per_group and target.kind == "ratio":
        level = _level_at_fraction(steps, order, target.part(share).value)
    elif share < 1:
        # The last round corrects; one that overshoots would leave it less to correct with.
        level = steps.reached(order, max(0, first_prefix(steps, order, cost, goal) - 1))
    else:
        level = hit(steps, order, cost, goal, tolerance)
    sizes = dict(zip(steps.names, steps.sizes_at(level).tolist(), strict=True))
    figure = target.figure(dense_cost, polynomial.value(sizes))
    notes = _notes(target, figure, polynomial.value(sizes), goal, tolerance, limits, unreachable)
    return Selection(steps.keep_at(level), sizes, figure, _no_room(space, steps, limits), notes)


def _level_at_fraction(steps: Steps, order: Ints, ratio: float) -> Ints:
    """Every bundle as far as it goes without losing more than ``ratio`` of its dense units."""
    prefix = int(np.searchsorted(steps.fraction[order], ratio + 1e-9, side="right"))
    return steps.reached(order, prefix)


def _require_reachable(
    space: Space,
    steps: Steps,
    cost: CompiledCost,
    target: Target,
    limits: Limits,
    scheme: Scheme,
    dense_cost: int,
    tolerance: float,
) -> None:
    what = "nothing can be removed"
    if len(steps.bundle):
        least = cost.value(steps.sizes_at(steps.highest))
        best = target.figure(dense_cost, least)
        if scheme.per_group and target.kind == "ratio":
            if limits.max_ratio >= target.value:
                return
            best = min(best, limits.max_ratio)
        elif least <= target.goal(dense_cost) * (1 + tolerance):
            return
        what = f"the best is {target.show(best)}"
    raise ImpossibleError(
        f"{target} is out of reach: {what}: {'; '.join(_obstacles(space, limits, scheme))}",
        "ask for less, or lift a limit",
    )


def _obstacles(space: Space, limits: Limits, scheme: Scheme) -> list[str]:
    frozen = Counter(group.frozen for group in space.groups if group.frozen is not None)
    parts = []
    if frozen:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in frozen.most_common(3))
        parts.append(f"{frozen.total()} of {len(space.groups)} groups are left whole: {reasons}")
    if not space.groups:
        pinned = Counter(pin.reason for pin in space.pinned)
        reasons = ", ".join(f"{reason} ({count})" for reason, count in pinned.most_common(3))
        return [f"no dimension of any parameter can lose an index: {reasons}"]
    if scheme.protects and limits.protect > 0:
        parts.append(f"every group keeps {limits.protect:.4g} of its units (--protect)")
    if limits.max_ratio < 1:
        parts.append(f"no group loses more than {limits.max_ratio:.4g} of its units (--max-ratio)")
    if limits.round_to > 1:
        parts.append(f"widths are multiples of {limits.round_to} (--round-to)")
    parts.append("one unit of every group, the inputs and the outputs always stay")
    return parts


def _no_room(space: Space, steps: Steps, limits: Limits) -> dict[str, str]:
    """Groups that cannot lose a unit, though they are not frozen."""
    reason = "it has no unit to spare"
    if limits.round_to > 1 or limits.max_ratio < 1 or limits.protect > 0:
        reason += " within --protect, --max-ratio and --round-to"
    return {
        member.group: reason
        for bundle, levels in zip(space.bundles, steps.levels, strict=True)
        if len(levels) == 1
        for member in bundle.members
    }


def _notes(
    target: Target,
    figure: float,
    cost: int,
    goal: float,
    tolerance: float,
    limits: Limits,
    unreachable: Sequence[str],
) -> tuple[str, ...]:
    notes = []
    if abs(cost - goal) > tolerance * goal:
        direction = "more" if cost < goal else "less"
        notes.append(
            f"{direction} was removed than {target} asks ({target.show(figure)}): widths are that coarse"
        )
    if unreachable:
        names = ", ".join(unreachable[:5]) + (" ..." if len(unreachable) > 5 else "")
        notes.append(
            f"{len(unreachable)} groups have a width that cannot be a multiple of {limits.round_to}: {names}"
        )
    return tuple(notes)

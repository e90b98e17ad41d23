"""``select``: scores become kept units, for one round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunecli.coupling.space import Guard, Space
from prunecli.criteria import Scores
from prunecli.selection.cost import CompiledCost, Ints
from prunecli.selection.reach import require_reachable
from prunecli.selection.rounding import quanta
from prunecli.selection.schemes import Scheme, find_scheme
from prunecli.selection.search import first_prefix, hit
from prunecli.selection.singled import Own
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
    target: Target | None,
    limits: Limits | None = None,
    dense: Mapping[str, int] | None = None,
    tolerance: float = 0.005,
    share: float = 1.0,
    enforced: Sequence[Guard] = (),
    own: Mapping[str, Own] | None = None,
    multiples: Mapping[str, int] | None = None,
) -> Selection:
    """Choose what to keep so that the cost is that of ``target`` (or ``share`` of the way there).

    Groups with an ``own`` ratio lose that, to the nearest width they may have, and the rest meets the target
    (which is not asked to count their units); without a target the rest stays. ``multiples`` are divisors of
    the units of single groups, instead of ``limits.round_to`` of their widths. ``dense`` are the group sizes
    of the dense network, to which all of this refers (default: those of ``space``). Raises
    ``ImpossibleError`` with the best reachable figure where the limits forbid it.
    """
    chosen, limits, dense, own = find_scheme(scheme), limits or Limits(), dense or space.sizes, own or {}
    divisors, unreachable = quanta(space, limits.round_to, multiples or {})
    floors = limits.floors(dense, protected=chosen.protects)

    def steps_to(part: float) -> Steps:
        wanted = {name: dense[name] * (1 - asked.ratio) ** part for name, asked in own.items()}
        return build_steps(space, scores, dense, floors, divisors, enforced, wanted)

    steps = steps_to(share)
    whole = _no_room(space, steps, limits, own)
    narrow = _too_narrow(unreachable)
    if target is None:
        level = np.zeros(len(steps.levels), dtype=np.int64)
        sizes = dict(zip(steps.names, steps.sizes_at(level).tolist(), strict=True))
        return Selection(steps.keep_at(level), sizes, 0.0, whole, narrow)
    polynomial = target.cost(space, _chosen_groups(space, own))
    cost = CompiledCost(polynomial, steps.names, dense, steps.bundle_of)
    dense_cost = polynomial.value(dense)
    goal = target.part(share).goal(dense_cost)
    last = steps if share == 1 or not own else steps_to(1.0)
    require_reachable(space, last, cost, target, limits, chosen, dense_cost, tolerance, own)
    level = _level(steps, chosen, cost, target.part(share), goal, tolerance, is_last=share == 1)
    sizes = dict(zip(steps.names, steps.sizes_at(level).tolist(), strict=True))
    reached = polynomial.value(sizes)
    figure = target.figure(dense_cost, reached)
    notes = (*_missed(target, figure, reached, goal, tolerance), *narrow)
    return Selection(steps.keep_at(level), sizes, figure, whole, notes)


def _level(
    steps: Steps,
    scheme: Scheme,
    cost: CompiledCost,
    target: Target,
    goal: float,
    tolerance: float,
    *,
    is_last: bool,
) -> Ints:
    """The level of each bundle (``[B]``) that ``scheme`` takes it to for the ``target`` of this round."""
    order = scheme.order(steps)
    if scheme.per_group and target.kind == "ratio":
        return _level_at_fraction(steps, order, target.value)
    if is_last:
        return hit(steps, order, cost, goal, tolerance)
    # The last round corrects; one that overshoots would leave it less to correct with.
    return steps.reached(order, max(0, first_prefix(steps, order, cost, goal) - 1))


def _chosen_groups(space: Space, own: Mapping[str, Own]) -> list[str]:
    """The groups whose width is left to the target."""
    return [
        member.group
        for bundle in space.bundles
        if not any(member.group in own for member in bundle.members)
        for member in bundle.members
    ]


def _level_at_fraction(steps: Steps, order: Ints, ratio: float) -> Ints:
    """Every bundle as far as it goes without losing more than ``ratio`` of its dense units."""
    prefix = int(np.searchsorted(steps.fraction[order], ratio + 1e-9, side="right"))
    return steps.reached(order, prefix)


def _no_room(space: Space, steps: Steps, limits: Limits, own: Mapping[str, Own]) -> dict[str, str]:
    """Groups that cannot lose a unit, though they are not frozen."""
    reason = "it has no unit to spare"
    if limits.round_to > 1 or limits.max_ratio < 1 or limits.protect > 0:
        reason += " within --protect, --max-ratio and --round-to"
    reasons: dict[str, str] = {}
    for bundle, levels in zip(space.bundles, steps.levels, strict=True):
        if len(levels) == 1 and levels[0] == 0:
            source = next((own[m.group].source for m in bundle.members if m.group in own), None)
            why = f"no width that it may have is nearer to {source}" if source else reason
            reasons |= {member.group: why for member in bundle.members}
    return reasons


def _missed(target: Target, figure: float, cost: int, goal: float, tolerance: float) -> tuple[str, ...]:
    if abs(cost - goal) <= tolerance * goal:
        return ()
    direction = "more" if cost < goal else "less"
    return (f"{direction} was removed than {target} asks ({target.show(figure)}): widths are that coarse",)


def _too_narrow(unreachable: Mapping[str, int]) -> tuple[str, ...]:
    """A note per multiple on the groups that have fewer units."""
    notes = []
    for multiple in sorted(set(unreachable.values())):
        named = [name for name, asked in unreachable.items() if asked == multiple]
        names = ", ".join(named[:5]) + (" ..." if len(named) > 5 else "")
        notes.append(f"{len(named)} groups have a width that cannot be a multiple of {multiple}: {names}")
    return tuple(notes)

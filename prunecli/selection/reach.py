"""Whether a target can be reached at all, and what stands in the way where it cannot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from prunecli.coupling.space import Space
from prunecli.errors import ImpossibleError
from prunecli.report.text import reasons_in_words
from prunecli.selection.cost import CompiledCost
from prunecli.selection.schemes import Scheme
from prunecli.selection.singled import NOT_IN_ONLY, Own
from prunecli.selection.steps import Steps
from prunecli.selection.target import Limits, Target


def require_reachable(
    space: Space,
    steps: Steps,
    cost: CompiledCost,
    target: Target,
    limits: Limits,
    scheme: Scheme,
    dense_cost: int,
    tolerance: float,
    own: Mapping[str, Own],
) -> None:
    """Raise ``ImpossibleError`` where ``steps`` (those of the last round) end before ``target``."""
    what = "nothing can be removed"
    if dense_cost and any(levels[-1] for levels in steps.levels):
        least = cost.value(steps.sizes_at(steps.highest))
        best = target.figure(dense_cost, least)
        if scheme.per_group and target.kind == "ratio":
            if limits.max_ratio >= target.value:
                return
            best = min(best, limits.max_ratio)
        elif least <= target.goal(dense_cost) * (1 + tolerance):
            return
        what = f"the best is {target.show(best)}"
    why = "".join(f"; {obstacle}" for obstacle in _obstacles(space, own))
    raise ImpossibleError(f"{target} is out of reach: {what}{why}", _hint(space, limits, scheme))


def _obstacles(space: Space, own: Mapping[str, Own]) -> list[str]:
    if not space.groups:
        why = reasons_in_words(Counter(pin.reason for pin in space.pinned))
        return [f"no dimension of any parameter can lose an index: {why}"]
    frozen = Counter(group.frozen for group in space.groups if group.frozen is not None)
    parts = []
    if frozen:
        parts.append(
            f"{frozen.total()} of {len(space.groups)} groups are left whole: {reasons_in_words(frozen)}"
        )
    for source, number in Counter(asked.source for asked in own.values()).items():
        parts.append(f"{source} decides on {number}")
    return parts


def _hint(space: Space, limits: Limits, scheme: Scheme) -> str:
    whole = {group.frozen for group in space.groups}
    lifts = [
        option
        for option, holds in (
            ("--only", NOT_IN_ONLY in whole),
            (f"--protect {limits.protect:g}", scheme.protects and limits.protect > 0),
            (f"--max-ratio {limits.max_ratio:g}", limits.max_ratio < 1),
            (f"--round-to {limits.round_to}", limits.round_to > 1),
        )
        if holds
    ]
    if not lifts:
        return "ask for less; one unit of every group, the inputs and the outputs always stay"
    return f"ask for less, or lift {' or '.join(lifts)}"

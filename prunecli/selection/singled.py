"""What is asked of single groups, read against one network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prunecli.coupling.space import Bundle, Group, Space
from prunecli.errors import ImpossibleError, UsageError
from prunecli.report.text import reasons_in_words
from prunecli.selection.asked import HEAD_KINDS, Asked, ratio_option
from prunecli.selection.matching import is_meant_by_kind, matching, pinned_at

NOT_IN_ONLY = "not in --only"
_CHOSEN_FREELY = frozenset({"channels", "head dimension"})
"""Kinds that a target may cut; every other kind is left whole unless an option names it."""


@dataclass(frozen=True)
class Own:
    """The fraction of its dense units that one group loses, and the option that says so."""

    ratio: float
    source: str


@dataclass(frozen=True)
class Singled:
    """``space`` has the groups frozen that may lose nothing, with the option as the reason; ``own`` has the
    groups with a ratio of their own, ``multiples`` the divisors of single groups' units.
    """

    space: Space
    own: Mapping[str, Own]
    multiples: Mapping[str, int]
    notes: tuple[str, ...]

    def left_whole(self, space: Space) -> list[str]:
        """A note per option on groups with an own ratio that are frozen in ``space`` all the same.

        Raises ``ImpossibleError`` for an option none of whose groups can lose units.
        """
        groups: dict[str, list[Group]] = {}
        for name, asked in self.own.items():
            groups.setdefault(asked.source, []).append(space.by_name[name])
        notes = []
        for option, named in groups.items():
            reasons = Counter(group.frozen for group in named if group.frozen is not None)
            if not reasons:
                continue
            why = reasons_in_words(reasons)
            if reasons.total() == len(named):
                scored = not all(reason.startswith("not scorable") for reason in reasons)
                raise ImpossibleError(
                    f"{option} is out of reach, nothing it names can be removed: {why}",
                    f"prune explain CKPT '{named[0].name}' shows where that comes from"
                    if scored
                    else "--criterion magnitude-l2 scores every group",
                )
            notes.append(f"{option}: {reasons.total()} of its {len(named)} groups are left whole: {why}")
        return notes


def singled(asked: Asked, space: Space, *, alone: bool) -> Singled:
    """What ``asked`` means for the groups of ``space``; ``alone``: there is no target beside it.

    Raises ``UsageError`` for a glob that matches nothing and for options that contradict each other,
    ``ImpossibleError`` where there is nothing to which a ratio could apply.
    """
    reasons, notes = left_whole_by(asked, space)
    own = _head_ratios(asked, space, reasons) | _own_ratios(asked, space, reasons)
    reasons |= {name: f"kept whole by {one.source}" for name, one in own.items() if one.ratio == 0}
    left = space.frozen(reasons)
    own = {name: one for name, one in own.items() if one.ratio > 0}
    notes += _check_bundles(space, own, reasons)
    if alone:
        said = " and ".join(option for option, ratio in asked.ratios.items() if ratio > 0)
        bundles = [b for b in left.bundles if not any(m.group in own for m in b.members)]
        left = left.frozen({m.group: f"{said} asks nothing of it" for b in bundles for m in b.members})
    return Singled(left, own, _multiples(asked, space), tuple(notes))


def held_for_heads(asked: Asked, space: Space) -> dict[str, str]:
    """Head dimensions to hold, with the reason, so that heads with a ratio of their own can lose it.

    Where ``C == heads * head_dim`` ties all three, they shrink only jointly, in few steps; with the size of a
    head held, ``C`` follows the heads in proportion.
    """
    ratios = {group.name: asked.ratio_of(group) for group in space.groups if group.kind in HEAD_KINDS}
    held: dict[str, str] = {}
    for bundle in space.bundles if any(ratios.values()) else ():
        heads = [member.group for member in bundle.members if ratios.get(member.group)]
        if bundle.rungs and heads:
            reason = f"the number of heads in '{heads[0]}' has a ratio of its own, and its size is tied to it"
            names = (member.group for member in bundle.members)
            held |= {name: reason for name in names if space.by_name[name].kind == "head dimension"}
    return held


def left_whole_by(asked: Asked, space: Space) -> tuple[dict[str, str], list[str]]:
    """Groups that ``--ignore`` and ``--only`` leave whole, and notes on globs that say nothing."""
    reasons: dict[str, str] = {}
    notes = []
    for glob in asked.ignore:
        found = matching(space, glob, f"--ignore {glob}")
        if not found:
            notes.append(f"--ignore {glob}: no group has its units there, nothing to leave out")
        for group in found:
            reasons.setdefault(group.name, f"ignored by --ignore {glob}")
    within = {group.name for glob in asked.only for group in matching(space, glob, f"--only {glob}")}
    if asked.only:
        reasons |= {name: NOT_IN_ONLY for name in space.sizes if name not in within | reasons.keys()}
    return reasons, notes


def _own_ratios(asked: Asked, space: Space, reasons: Mapping[str, str]) -> dict[str, Own]:
    """The ratios that globs give; where several match a group they must agree."""
    own: dict[str, Own] = {}
    for glob, ratio in asked.ratio_for.items():
        option = ratio_option(glob, ratio)
        for group in _meant(space, glob, option, ratio):
            if group.name in reasons:
                raise UsageError(
                    f"{option} and {_option_in(reasons[group.name])} both name group '{group.name}'",
                    "leave one of them out, or narrow its glob",
                )
            other = own.setdefault(group.name, Own(ratio, option))
            if other.ratio != ratio:
                raise UsageError(
                    f"{other.source} and {option} both name group '{group.name}'", "narrow one of the globs"
                )
    return own


def _meant(space: Space, glob: str, option: str, ratio: float) -> list[Group]:
    """The groups that ``glob`` gives a ratio to: not heads and group counts that it does not spell, unless
    they are all it matches.
    """
    found = matching(space, glob, option)
    if not found and ratio > 0:
        raise ImpossibleError(
            f"{option} is out of reach: no group has its units there{pinned_at(space, glob)}",
            "prune inspect --groups lists the groups",
        )
    return [g for g in found if g.kind in _CHOSEN_FREELY or is_meant_by_kind(g, glob)] or found


def _head_ratios(asked: Asked, space: Space, reasons: Mapping[str, str]) -> dict[str, Own]:
    """``--heads`` for every group of heads that may be cut."""
    if asked.heads is None:
        return {}
    heads = [group for group in space.groups if group.kind in HEAD_KINDS]
    left = [group for group in heads if group.name not in reasons]
    if not left:
        where = "are left by --only and --ignore" if heads else "were found in the network"
        raise ImpossibleError(
            f"--heads {asked.heads:g} is out of reach: no attention heads {where}",
            "prune inspect --groups lists the groups and their kinds",
        )
    return {group.name: Own(asked.heads, f"--heads {asked.heads:g}") for group in left}


def _multiples(asked: Asked, space: Space) -> dict[str, int]:
    multiples: dict[str, int] = {}
    for glob, multiple in asked.round_to_for.items():
        option = f"--round-to-for {glob}={multiple}"
        for group in matching(space, glob, option):
            if multiples.setdefault(group.name, multiple) != multiple:
                raise UsageError(
                    f"{option} and another --round-to-for both name group '{group.name}'",
                    "narrow one of the globs",
                )
    return multiples


def _option_in(reason: str) -> str:
    """The option behind a reason for leaving a group whole."""
    return reason[reason.index("--") :]


def _check_bundles(space: Space, own: Mapping[str, Own], reasons: Mapping[str, str]) -> list[str]:
    """Notes on groups that lose units because their size is tied to one with a ratio of its own.

    Raises ``UsageError`` where the sizes of groups are tied that were asked to go different ways.
    """
    notes = []
    for bundle in space.bundles:
        asked = [member.group for member in bundle.members if member.group in own]
        if not asked or len(bundle.members) == 1:
            continue
        first, why = asked[0], f" ({bundle.reason})" if bundle.reason else ""
        other = next((name for name in asked if own[name].ratio != own[first].ratio), None)
        if other is not None:
            raise UsageError(
                f"{own[first].source} and {own[other].source} ask different ratios of '{first}' and "
                f"'{other}', whose sizes are tied{why}",
                "ask the same ratio of both",
            )
        whole = next((member.group for member in bundle.members if member.group in reasons), None)
        if whole is not None:
            raise UsageError(
                f"{own[first].source} and {_option_in(reasons[whole])} contradict each other: the sizes of "
                f"'{first}' and '{whole}' are tied{why}",
                "leave one of them out, or narrow its glob",
            )
        notes += _along(bundle, own[first].source, asked, why)
    return notes


def _along(bundle: Bundle, source: str, asked: Iterable[str], why: str) -> list[str]:
    along = [member.group for member in bundle.members if member.group not in asked]
    if not along:
        return []
    names = ", ".join(f"'{name}'" for name in along[:3]) + (" ..." if len(along) > 3 else "")
    return [f"{source}: the sizes of {names} are tied to it and follow{why}"]

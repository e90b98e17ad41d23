"""What the user said of single groups: ``--heads``, ``--only``, ``--ignore``, ``--ratio-for``,
``--round-to-for``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from prunecli.coupling.space import Bundle, Group, Space
from prunecli.errors import ImpossibleError, UsageError
from prunecli.selection.matching import is_meant, matching
from prunecli.selection.schemes import Scheme
from prunecli.selection.target import SLACK, Limits

HEAD_KINDS = frozenset({"heads", "kv heads"})
_CHOSEN_FREELY = frozenset({"channels", "head dimension"})
"""Kinds that a target may cut; every other kind is left whole unless an option names it."""


@dataclass(frozen=True)
class Own:
    """The fraction of its dense units that one group loses, and the option that says so."""

    ratio: float
    source: str


@dataclass(frozen=True)
class Singled:
    """``Asked`` read against one network: the space with the groups frozen that may lose nothing,
    ``own`` ratios and ``multiples`` per group, and notes.
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
            why = counted(reasons)
            if reasons.total() == len(named):
                raise ImpossibleError(
                    f"{option} is out of reach, nothing it names can be removed: {why}",
                    f"prune explain CKPT '{named[0].name}' shows where that comes from",
                )
            notes.append(f"{option}: {reasons.total()} of its {len(named)} groups are left whole: {why}")
        return notes


@dataclass(frozen=True)
class Asked:
    """Options on single groups. ``heads`` is the fraction of heads to remove, ``ratio_for`` and
    ``round_to_for`` map a glob to a fraction of units to remove and to a multiple. Raises ``UsageError`` for
    numbers out of range.
    """

    heads: float | None = None
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    ratio_for: Mapping[str, float] = field(default_factory=dict)
    round_to_for: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.heads is not None and not 0 < self.heads < 1:
            raise UsageError(f"--heads {self.heads:g} is not between 0 and 1", "--heads 0.5")
        for glob, ratio in self.ratio_for.items():
            if not 0 <= ratio < 1:
                raise UsageError(
                    f"{_ratio_option(glob, ratio)} is not in [0, 1)", f"--ratio-for '{glob}=0.5'"
                )
        for glob, multiple in self.round_to_for.items():
            if multiple < 1:
                raise UsageError(
                    f"--round-to-for {glob}={multiple} is not a positive integer",
                    f"--round-to-for '{glob}=8'",
                )

    @property
    def ratios(self) -> dict[str, float]:
        """The fraction that each option removes, by the option as it was typed."""
        heads = {} if self.heads is None else {f"--heads {self.heads:g}": self.heads}
        return heads | {_ratio_option(glob, ratio): ratio for glob, ratio in self.ratio_for.items()}

    @property
    def is_target(self) -> bool:
        """Whether this removes anything without a target beside it."""
        return any(ratio > 0 for ratio in self.ratios.values())

    def frees(self, group: Group) -> bool:
        """Whether ``group``, of a kind that is left whole by default, was asked for all the same.

        ``--heads`` asks for the heads that ``--only`` and ``--ignore`` leave; a glob asks for a kind by
        spelling it, as in ``layer1.*:groups``.
        """
        if self._is_ignored(group) or not self._is_in_only(group):
            return False
        if self.heads is not None and group.kind in HEAD_KINDS:
            return True
        asking = (*self.only, *(glob for glob, ratio in self.ratio_for.items() if ratio > 0))
        return any(":" in glob and fnmatchcase(group.name, glob) for glob in asking)

    def _is_ignored(self, group: Group) -> bool:
        return any(is_meant(group, glob) for glob in self.ignore)

    def _is_in_only(self, group: Group) -> bool:
        return not self.only or any(is_meant(group, glob) for glob in self.only)

    def check(self, limits: Limits, scheme: Scheme) -> None:
        """Raise ``UsageError`` for a ratio that the limits on every group forbid."""
        for option, ratio in self.ratios.items():
            if ratio > limits.max_ratio + SLACK:
                raise UsageError(
                    f"{option} is more than --max-ratio {limits.max_ratio:g} lets any group lose",
                    f"--max-ratio {ratio:g}",
                )
            if scheme.protects and 1 - ratio < limits.protect - SLACK:
                raise UsageError(
                    f"{option} leaves less than --protect {limits.protect:g} of every group",
                    f"--protect {1 - ratio:.4g}",
                )

    def read(self, space: Space, *, alone: bool) -> Singled:
        """What this means for the groups of ``space``; ``alone``: there is no target beside it.

        Raises ``UsageError`` for a glob that matches nothing and for options that contradict each other.
        """
        reasons, notes = self._left_whole(space)
        own = self._own_ratios(space, reasons)
        reasons |= {name: f"kept whole by {o.source}" for name, o in own.items() if o.ratio == 0}
        left = space.frozen(reasons)
        own = {name: o for name, o in own.items() if o.ratio > 0}
        notes += _check_bundles(space, own, reasons)
        if alone:
            said = " and ".join(option for option, ratio in self.ratios.items() if ratio > 0)
            bundles = [b for b in left.bundles if not any(m.group in own for m in b.members)]
            left = left.frozen({m.group: f"{said} asks nothing of it" for b in bundles for m in b.members})
        return Singled(left, own, self._multiples(space), tuple(notes))

    def _left_whole(self, space: Space) -> tuple[dict[str, str], list[str]]:
        """Groups that ``--ignore`` and ``--only`` leave whole, and notes on globs that say nothing."""
        reasons: dict[str, str] = {}
        notes = []
        for glob in self.ignore:
            found = matching(space, glob, f"--ignore {glob}")
            if not found:
                notes.append(f"--ignore {glob}: no group has its units there, nothing to leave out")
            for group in found:
                reasons.setdefault(group.name, f"ignored by --ignore {glob}")
        within = {group.name for glob in self.only for group in matching(space, glob, f"--only {glob}")}
        if self.only:
            reasons |= {name: "not in --only" for name in space.sizes if name not in within | reasons.keys()}
        return reasons, notes

    def _own_ratios(self, space: Space, reasons: Mapping[str, str]) -> dict[str, Own]:
        """Every group's own ratio. A glob overrules ``--heads``; two globs must agree."""
        own: dict[str, Own] = {}
        for glob, ratio in self.ratio_for.items():
            option = _ratio_option(glob, ratio)
            for group in self._without_other_kinds(matching(space, glob, option)):
                if group.name in reasons:
                    raise UsageError(
                        f"{option} and {_said_whole(reasons[group.name])} both name group '{group.name}'",
                        "leave one of them out, or narrow its glob",
                    )
                other = own.setdefault(group.name, Own(ratio, option))
                if other.ratio != ratio:
                    raise UsageError(
                        f"{other.source} and {option} both name group '{group.name}'",
                        "narrow one of the globs",
                    )
        if self.heads is not None:
            heads = [g for g in space.groups if g.kind in HEAD_KINDS and g.name not in reasons]
            for group in heads:
                own.setdefault(group.name, Own(self.heads, f"--heads {self.heads:g}"))
        return own

    def _without_other_kinds(self, found: list[Group]) -> list[Group]:
        """``found`` without heads and group counts that no glob spells out, if anything is left then."""
        meant = [g for g in found if g.kind in _CHOSEN_FREELY or self.frees(g)]
        return meant or found

    def _multiples(self, space: Space) -> dict[str, int]:
        multiples: dict[str, int] = {}
        for glob, multiple in self.round_to_for.items():
            option = f"--round-to-for {glob}={multiple}"
            for group in matching(space, glob, option):
                if multiples.setdefault(group.name, multiple) != multiple:
                    raise UsageError(
                        f"{option} and another --round-to-for both name group '{group.name}'",
                        "narrow one of the globs",
                    )
        return multiples


def counted(reasons: Counter[str], most: int = 2) -> str:
    """The commonest reasons, each with how often it applies where that is not once."""
    shown = [why if number == 1 else f"{why} ({number}x)" for why, number in reasons.most_common(most)]
    more = len(reasons) - most
    return "; ".join(shown) + (f"; and {more} more reasons" if more > 0 else "")


def _ratio_option(glob: str, ratio: float) -> str:
    return f"--ratio-for {glob}={ratio:g}"


def _said_whole(reason: str) -> str:
    """The option behind a reason for leaving a group whole."""
    return reason[reason.index("--") :]


def _check_bundles(space: Space, own: Mapping[str, Own], reasons: Mapping[str, str]) -> list[str]:
    """Notes on groups that lose units because their size is tied to one with a ratio of its own.

    Raises ``UsageError`` where the sizes of groups are tied that were asked to go different ways.
    """
    notes = []
    for bundle in space.bundles:
        asked = [m.group for m in bundle.members if m.group in own]
        if not asked or len(bundle.members) == 1:
            continue
        first = asked[0]
        why = f" ({bundle.reason})" if bundle.reason else ""
        other = next((name for name in asked if own[name].ratio != own[first].ratio), None)
        if other is not None:
            raise UsageError(
                f"{own[first].source} and {own[other].source} ask different ratios of '{first}' and "
                f"'{other}', whose sizes are tied{why}",
                "ask the same ratio of both",
            )
        whole = next((m.group for m in bundle.members if m.group in reasons), None)
        if whole is not None:
            raise UsageError(
                f"{own[first].source} and {_said_whole(reasons[whole])} contradict each other: the sizes of "
                f"'{first}' and '{whole}' are tied{why}",
                "leave one of them out, or narrow its glob",
            )
        notes += _along(bundle, own[first].source, asked, why)
    return notes


def _along(bundle: Bundle, source: str, asked: Iterable[str], why: str) -> list[str]:
    along = [m.group for m in bundle.members if m.group not in asked]
    if not along:
        return []
    names = ", ".join(f"'{name}'" for name in along[:3]) + (" ..." if len(along) > 3 else "")
    return [f"{source}: the sizes of {names} are tied to it and follow{why}"]

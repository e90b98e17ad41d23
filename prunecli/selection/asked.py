"""What the user says of single groups: ``--heads``, ``--only``, ``--ignore``, ``--ratio-for``,
``--round-to-for``. What that means for one network is worked out in ``singled.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prunecli.coupling.space import Group
from prunecli.errors import UsageError
from prunecli.selection.matching import is_meant, is_meant_by_kind
from prunecli.selection.schemes import Scheme
from prunecli.selection.target import SLACK, Limits

HEAD_KINDS = frozenset({"heads", "kv heads"})


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
                raise UsageError(f"{ratio_option(glob, ratio)} is not in [0, 1)", f"--ratio-for '{glob}=0.5'")
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
        return heads | {ratio_option(glob, ratio): ratio for glob, ratio in self.ratio_for.items()}

    @property
    def is_target(self) -> bool:
        """Whether this removes anything without a target beside it."""
        return any(ratio > 0 for ratio in self.ratios.values())

    def frees(self, group: Group) -> bool:
        """Whether ``group``, of a kind that is left whole by default, was asked for all the same.

        ``--heads`` asks for the heads that ``--only`` and ``--ignore`` leave; a glob asks for a kind by
        spelling it, as in ``layer1.*:groups``.
        """
        if any(is_meant(group, glob) for glob in self.ignore):
            return False
        if self.only and not any(is_meant(group, glob) for glob in self.only):
            return False
        if self.heads is not None and group.kind in HEAD_KINDS:
            return True
        asking = (*self.only, *(glob for glob, ratio in self.ratio_for.items() if ratio > 0))
        return any(is_meant_by_kind(group, glob) for glob in asking)

    def ratio_of(self, group: Group) -> float | None:
        """The ratio that an option gives to ``group`` of a kind that is left whole by default."""
        for glob, ratio in self.ratio_for.items():
            if is_meant_by_kind(group, glob):
                return ratio
        return self.heads if group.kind in HEAD_KINDS and self.frees(group) else None

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


def ratio_option(glob: str, ratio: float) -> str:
    """``--ratio-for`` as it was typed."""
    return f"--ratio-for {glob}={ratio:g}"

"""``Plan``: what to keep, as a plain immutable value that prints and saves as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunecli.errors import InputError

MAX_UNITS = 2**40
"""Of a group: more than any tensor has, and few enough digits for every message."""


@dataclass(frozen=True)
class Plan:
    """``keep[group]`` lists the kept unit indices (ascending, in dense numbering) of every group that is cut.

    ``dense[group]`` is the group's dense size. A group that is not in ``keep`` stays whole.
    """

    keep: Mapping[str, tuple[int, ...]]
    dense: Mapping[str, int]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of kept units of every group in the plan."""
        return {name: len(kept) for name, kept in self.keep.items()}

    def after(self, later: Plan) -> Plan:
        """One plan that does what ``self`` and then ``later`` (numbered on the cut network) do."""
        keep = dict(self.keep)
        dense = dict(self.dense)
        for name, kept in later.keep.items():
            before: Sequence[int] = keep.get(name, range(later.dense[name]))
            keep[name] = tuple(before[index] for index in kept)
            dense.setdefault(name, later.dense[name])
        return Plan(keep, dense)

    def to_json(self) -> dict[str, Any]:
        return {
            "groups": {
                name: {"dense": self.dense[name], "kept": list(self.keep[name])} for name in sorted(self.keep)
            }
        }

    @staticmethod
    def from_json(data: object) -> Plan:
        """Read what :meth:`to_json` wrote. Raises ``InputError`` on anything else."""
        keep: dict[str, tuple[int, ...]] = {}
        dense: dict[str, int] = {}
        groups = data.get("groups") if isinstance(data, dict) else None
        if not isinstance(groups, dict):
            raise InputError("not a plan: no 'groups'", "write one with --dry-run --json")
        for name, entry in groups.items():
            if not isinstance(entry, dict) or not isinstance(entry.get("kept"), list):
                raise InputError(f"not a plan: group '{name[:120]}' has no list 'kept'")
            kept, size = entry["kept"], entry.get("dense")
            if type(size) is not int or size > MAX_UNITS or not all(type(i) is int for i in kept):
                raise InputError(f"not a plan: group '{name[:120]}' needs integers")
            if kept != sorted(set(kept)) or not kept or kept[0] < 0 or kept[-1] >= size:
                raise InputError(
                    f"not a plan: group '{name[:120]}' keeps indices outside 0..{size - 1} or unsorted"
                )
            keep[name], dense[name] = tuple(kept), size
        return Plan(keep, dense)

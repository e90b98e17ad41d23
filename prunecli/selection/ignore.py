"""``--ignore GLOB``: groups that the user wants left whole."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from prunecli.coupling.space import Group, Space
from prunecli.errors import UsageError


def ignored(space: Space, globs: Sequence[str]) -> tuple[Space, list[str]]:
    """``space`` with the groups frozen that a glob names, and notes on globs that freeze nothing.

    A glob matches the name of a group, or of a layer: then every group whose units are its output rows.
    Raises ``UsageError`` for one that matches no name at all.
    """
    layers = {_layer(parameter) for parameter in space.axes}
    reasons: dict[str, str] = {}
    notes = []
    for glob in globs:
        found = [group.name for group in space.groups if _matches(group, glob)]
        if not found and not any(fnmatchcase(layer, glob) for layer in layers):
            near = get_close_matches(glob, sorted(layers | set(space.sizes)), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "prune inspect --groups lists the names"
            raise UsageError(f"--ignore {glob} matches no layer and no group", hint)
        if not found:
            notes.append(f"--ignore {glob}: no group has its units there, nothing to leave out")
        reasons |= {name: f"ignored by --ignore {glob}" for name in found if name not in reasons}
    return space.frozen(reasons), notes


def _matches(group: Group, glob: str) -> bool:
    layers = {_layer(slot.parameter) for slot in group.slots if slot.role == "out"}
    return fnmatchcase(group.name, glob) or any(fnmatchcase(layer, glob) for layer in layers)


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]

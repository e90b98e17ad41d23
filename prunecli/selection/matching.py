"""Which groups a GLOB means: one rule for every option that takes one."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

from prunecli.coupling.space import Group, Space
from prunecli.errors import UsageError, did_you_mean


def matching(space: Space, glob: str, option: str) -> list[Group]:
    """The groups that ``glob`` names, in order; none where it names layers that have no units of their own.

    A glob matches the name of a group; a layer, or its weight, whose output rows are the group's units; or a
    parameter that is no weight of a layer (a class token, a position table). ``option`` is what the user
    typed. Raises ``UsageError``, with the nearest names, for a glob that matches no name in the network.
    """
    found = [group for group in space.groups if is_meant(group, glob)]
    if not found:
        known = {layer_of(parameter) for parameter in space.axes} | set(space.axes)
        known |= {name for group in space.groups for name in (group.name, *_with_kind(group))}
        if not any(fnmatchcase(name, glob) for name in known):
            hint = did_you_mean(glob, known) or "prune inspect --groups lists the names"
            raise UsageError(f"{option} matches no layer and no group", hint)
    return found


def is_meant(group: Group, glob: str) -> bool:
    """Whether ``glob`` matches one of the names that stand for ``group``."""
    return any(fnmatchcase(name, glob) for name in (group.name, *_with_kind(group), *_places(group)))


def is_meant_by_kind(group: Group, glob: str) -> bool:
    """Whether ``glob`` spells the kind of ``group``, as ``layer1.*:groups`` does."""
    return ":" in glob and any(fnmatchcase(name, glob) for name in (group.name, *_with_kind(group)))


def pinned_at(space: Space, glob: str) -> str:
    """Why the first layer or parameter that ``glob`` matches has no units, ready to follow a sentence."""
    why = (
        f": dimension {pin.dim} of {pin.parameter} is pinned, {pin.reason}"
        for pin in space.pinned
        if fnmatchcase(pin.parameter, glob) or (pin.dim == 0 and fnmatchcase(layer_of(pin.parameter), glob))
    )
    return next(why, "")


def layer_of(parameter: str) -> str:
    """The module that owns a parameter ('' is the network itself)."""
    return parameter.rpartition(".")[0]


def _with_kind(group: Group) -> Iterator[str]:
    """LAYER:KIND for every layer that has the units as output rows: the group of a grouped convolution is
    named after the layer before it.
    """
    base, colon, ending = group.name.rpartition(":")
    for slot in group.slots:
        if colon and slot.role == "out" and layer_of(slot.parameter) != base:
            yield f"{layer_of(slot.parameter)}:{ending.partition('#')[0]}"


def _places(group: Group) -> Iterator[str]:
    for slot in group.slots:
        if slot.role == "out":
            yield layer_of(slot.parameter)
        if slot.role in ("out", "other"):
            yield slot.parameter

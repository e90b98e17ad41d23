"""``--round-to N``: the divisor of each group's unit count that makes the widths multiples of N;
``--round-to-for GLOB=N``: the divisor itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd, lcm, prod

from prunecli.coupling.axes import Axis, Concat, Product, Units, groups_in, size_of
from prunecli.coupling.space import Space


def quanta(space: Space, multiple: int, own: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """The divisor per group (1 where nothing is asked), and the groups that are too narrow for the multiple
    asked of them, with that multiple.

    A width is a group's units times the sizes beside them that cannot change (heads of a head dimension); in
    a concatenation every part has to comply. A width narrower than ``multiple`` is out of reach. A group in
    ``own`` has a multiple of its units instead.
    """
    result = {group.name: 1 for group in space.groups}
    unreachable: dict[str, int] = {}
    places = [] if multiple == 1 else [place for place in _widths(space) if place[0] not in own]
    wanted = [(name, multiple, multiple // gcd(multiple, beside)) for name, beside in places]
    for name, asked, divisor in (*wanted, *((name, n, n) for name, n in own.items())):
        together = lcm(result[name], divisor)
        if together <= space.sizes[name]:
            result[name] = together
        else:
            unreachable[name] = asked
    return result, unreachable


def _widths(space: Space) -> Iterator[tuple[str, int]]:
    """Every place of a free group in a width, with the number of indices that one of its units has there.

    Dimension 1 of a convolution is a width divided by the number of groups; the width itself is dimension 0
    of what made it. It counts only for a group that is found nowhere else.
    """
    free = {group.name for group in space.groups if group.frozen is None}
    widths: dict[Axis, None] = {}
    divided: dict[Axis, None] = {}
    for axes in space.axes.values():
        for dim, axis in enumerate(axes):
            (divided if dim == 1 and len(axes) > 2 else widths)[axis] = None
    found = [place for axis in widths for place in _occurrences(axis, 1, space, free)]
    seen = {name for name, _ in found}
    yield from found
    for axis in divided:
        yield from (place for place in _occurrences(axis, 1, space, free) if place[0] not in seen)


def _occurrences(axis: Axis, beside: int, space: Space, free: set[str]) -> Iterator[tuple[str, int]]:
    """Every place of a free group in ``axis`` with the number of indices one unit has there."""
    if isinstance(axis, Units) and axis.group in free:
        yield axis.group, beside
    elif isinstance(axis, Concat):
        for part in axis.parts:
            yield from _occurrences(part, beside, space, free)
    elif isinstance(axis, Product):
        held = [1 if free & set(groups_in(f)) else size_of(f, space.sizes) for f in axis.factors]
        for factor in axis.factors:
            yield from _occurrences(factor, beside * prod(held), space, free)

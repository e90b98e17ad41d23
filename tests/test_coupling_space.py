"""Space: guards, views by name, resizing and freezing, on spaces written by hand."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from spaces import chain, residual

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Guard, Member, Space

A, B = Polynomial.variable("a"), Polynomial.variable("b")


@pytest.mark.parametrize(
    ("op", "a", "b", "holds"),
    [
        ("==", 4, 4, True), ("==", 4, 5, False), ("!=", 4, 5, True), ("!=", 4, 4, False),
        ("<", 4, 5, True), ("<", 5, 5, False), ("<=", 5, 5, True), ("<=", 6, 5, False),
        (">", 6, 5, True), (">", 5, 5, False), (">=", 5, 5, True), (">=", 4, 5, False),
        ("%0", 6, 3, True), ("%0", 7, 3, False), ("%0", 6, 0, False),
    ],
)  # fmt: skip
def test_a_guard_compares_sizes(op: str, a: int, b: int, holds: bool) -> None:
    assert Guard(A, op, B, "layer").holds({"a": a, "b": b}) is holds


def chained() -> Space:
    """Two groups that lose units together, and two of their own."""
    space = chain(6, 5, 4, 3).space()
    tied = Bundle((Member("g0", 1), Member("g1", 2)), "chunks")
    return replace(space, bundles=(tied, *(b for b in space.bundles if b.members[0].group in ("g2", "g3"))))


def test_sizes_and_names() -> None:
    space = chain(6, 5).space()
    assert space.sizes == {"g0": 6, "g1": 5}
    assert space.by_name["g1"].size == 5


def test_resizing_changes_sizes_only() -> None:
    space = chain(6, 5).space()
    smaller = space.resized({"g0": 2})
    assert smaller.sizes == {"g0": 2, "g1": 5}
    assert space.sizes == {"g0": 6, "g1": 5}
    assert smaller.bundles == space.bundles
    assert smaller.axes is space.axes


def test_freezing_a_group_drops_its_bundle_and_says_why() -> None:
    space = chained().frozen({"g1": "asked to"})
    frozen = {group.name: group.frozen for group in space.groups}
    assert frozen["g1"] == "asked to"
    assert frozen["g0"] == "its size is tied to g1, which is frozen"
    assert frozen["g2"] is frozen["g3"] is None
    assert [m.group for b in space.bundles for m in b.members] == ["g2", "g3"]


def test_freezing_nothing_changes_nothing() -> None:
    space = chained()
    assert space.frozen({}) == space


def test_the_first_reason_stays() -> None:
    space = residual().space()
    name = space.groups[0].name
    assert space.frozen({name: "first"}).frozen({name: "second"}).by_name[name].frozen == "first"


def test_spaces_are_immutable() -> None:
    space = chain(6).space()
    with pytest.raises(FrozenInstanceError):
        space.groups = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        space.groups[0].size = 3  # type: ignore[misc]

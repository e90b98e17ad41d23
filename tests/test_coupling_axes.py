"""Axis expressions against loops over every index."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunecli.coupling.axes import (
    Axis,
    Concat,
    Fixed,
    Product,
    Units,
    groups_in,
    kept_indices,
    owners,
    size_of,
)

SIZES = {"a": 3, "b": 4, "c": 2}


def every_index(axis: Axis) -> Iterator[dict[str, set[int]]]:
    """For each index of ``axis`` in order: the units of every group it belongs to."""
    if isinstance(axis, Fixed):
        yield from ({} for _ in range(axis.size))
    elif isinstance(axis, Units):
        yield from ({axis.group: {unit}} for unit in range(SIZES[axis.group]))
    elif isinstance(axis, Concat):
        for part in axis.parts:
            yield from every_index(part)
    elif not axis.factors:
        yield {}
    else:
        for outer in every_index(axis.factors[0]):
            for inner in every_index(Product(axis.factors[1:])):
                yield {name: outer.get(name, set()) | inner.get(name, set()) for name in outer | inner}


def kept_by_hand(axis: Axis, keep: Mapping[str, Sequence[int]]) -> list[int]:
    return [
        index
        for index, units in enumerate(every_index(axis))
        if all(units.get(name, set()) <= set(kept) for name, kept in keep.items())
    ]


AXES = st.recursive(
    st.one_of(st.builds(Fixed, st.integers(0, 3)), st.builds(Units, st.sampled_from(sorted(SIZES)))),
    lambda children: st.one_of(
        st.lists(children, min_size=1, max_size=3).map(lambda parts: Concat(tuple(parts))),
        st.lists(children, min_size=1, max_size=2).map(lambda parts: Product(tuple(parts))),
    ),
    max_leaves=5,
)


@settings(max_examples=200)
@given(AXES, st.integers(0, 1000))
def test_kept_indices_are_those_whose_units_all_stay(axis: Axis, seed: int) -> None:
    rng = random.Random(seed)
    keep = {
        name: sorted(rng.sample(range(size), rng.randint(1, size)))
        for name, size in SIZES.items()
        if rng.random() < 0.7
    }
    found = kept_indices(axis, SIZES, keep)
    assert found.dtype == torch.int64
    assert found.tolist() == kept_by_hand(axis, keep)
    after = SIZES | {name: len(kept) for name, kept in keep.items()}
    assert len(found) == size_of(axis, after)


@settings(max_examples=100)
@given(AXES)
def test_sizes_owners_and_names_agree_with_the_loop(axis: Axis) -> None:
    units = list(every_index(axis))
    assert size_of(axis, SIZES) == len(units)
    for name in SIZES:
        owner = owners(axis, SIZES, name).tolist()
        assert len(owner) == len(units)
        for index, unit in enumerate(owner):
            assert unit == max(units[index].get(name, {-1}))
    named = {name for index in units for name in index}
    assert named <= set(groups_in(axis))


def test_by_hand() -> None:
    axis = Concat((Fixed(2), Product((Units("a"), Fixed(2)))))
    assert size_of(axis, SIZES) == 8
    assert kept_indices(axis, SIZES, {"a": [0, 2]}).tolist() == [0, 1, 2, 3, 6, 7]
    assert owners(axis, SIZES, "a").tolist() == [-1, -1, 0, 0, 1, 1, 2, 2]
    assert owners(axis, SIZES, "b").tolist() == [-1] * 8
    assert groups_in(axis) == ("a",)


def test_names_come_once_in_order_of_appearance() -> None:
    axis = Concat((Units("b"), Product((Units("a"), Units("b"))), Fixed(3)))
    assert groups_in(axis) == ("b", "a")
    assert groups_in(Fixed(3)) == ()

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunecli.plan import Plan
from prunecli.stages.stable import Watch, distance

SIZES = {"a": 6, "b": 4}
plans = st.builds(
    lambda a, b: Plan({"a": tuple(sorted(a)), "b": tuple(sorted(b))}, SIZES),
    st.sets(st.integers(0, 5), min_size=1), st.sets(st.integers(0, 3), min_size=1),
)  # fmt: skip


@given(plans, plans)
def test_the_distance_is_that_of_masks(one: Plan, other: Plan) -> None:
    masks = [
        torch.tensor([unit in plan.keep[name] for name, size in SIZES.items() for unit in range(size)])
        for plan in (one, other)
    ]
    apart = int((masks[0] != masks[1]).sum())
    assert distance(one, other, SIZES) == pytest.approx(apart / 10)


def test_a_group_that_is_not_cut_is_kept_whole() -> None:
    assert distance(Plan({}, {}), Plan({"a": (0, 1, 2)}, {"a": 6}), SIZES) == 0.3


def watch(kept: Iterable[tuple[int, ...]], at: float) -> Watch:
    coming = iter(kept)
    return Watch(None, lambda: Plan({"a": next(coming)}, {"a": 6}), {"a": 6}, at)


def test_training_ends_with_the_first_masks_that_are_near_enough() -> None:
    found = watch([(0, 1, 2), (3, 4, 5), (0, 4, 5), (0, 4, 5)], 0.1)
    ended = []
    for epoch in range(1, 5):
        found.after_backward()
        found.after_epoch(epoch)
        ended.append(found.ended)
    assert found.distances == pytest.approx([1.0, 1 / 3, 0.0])
    assert ended == [False, False, False, True]


def test_it_goes_on_from_its_state() -> None:
    whole = watch([(0, 1, 2), (0, 1, 3), (0, 1, 3)], 0.1)
    first = watch([(0, 1, 2), (0, 1, 3)], 0.1)
    for epoch in (1, 2, 3):
        whole.after_epoch(epoch)
    for epoch in (1, 2):
        first.after_epoch(epoch)
    buffer = io.BytesIO()
    torch.save(dict(first.state_dict()), buffer)
    buffer.seek(0)
    second = watch([(0, 1, 3)], 0.1)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    second.after_epoch(3)
    assert (second.distances, second.ended) == (whole.distances, whole.ended) == ([1 / 3, 0.0], True)

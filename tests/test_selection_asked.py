"""Options on single groups: ranges, what they free, what limits forbid."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prunecli.coupling.space import Group, Slot
from prunecli.errors import UsageError
from prunecli.selection import SCHEMES, Asked, Limits


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0.0}, "--heads 0 "), ({"heads": 1.0}, "--heads 1 "), ({"heads": math.nan}, "--heads nan"),
        ({"ratio_for": {"a": 1.0}}, "--ratio-for a=1 "), ({"ratio_for": {"a": -0.1}}, "--ratio-for a=-0.1"),
        ({"round_to_for": {"a": 0}}, "--round-to-for a=0 "),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    Asked(heads=0.5, ratio_for={"a": 0.0, "b": 0.9}, round_to_for={"a": 1})
    with pytest.raises(UsageError, match=message) as caught:
        Asked(**options)
    assert caught.value.hint


def test_what_removes_nothing_is_no_target() -> None:
    assert Asked(heads=0.5).is_target
    assert Asked(ratio_for={"a": 0.0, "b": 0.1}).is_target
    assert not Asked(ratio_for={"a": 0.0}).is_target
    assert not Asked(only=("a",), ignore=("b",), round_to_for={"a": 4}).is_target


@pytest.mark.parametrize(
    ("asked", "freed"),
    [
        (Asked(), set()), (Asked(heads=0.5), {"heads", "kv heads"}),
        (Asked(heads=0.5, ignore=("block.*",)), set()), (Asked(heads=0.5, only=("other",)), set()),
        (Asked(heads=0.5, only=("block.attn",)), {"heads", "kv heads"}),
        (Asked(ratio_for={"block.attn:*": 0.5}), {"heads", "kv heads", "convolution groups"}),
        (Asked(ratio_for={"block.attn:*": 0.0}), set()),
        (Asked(only=("*:groups",)), {"convolution groups"}),
        (Asked(ratio_for={"block.*": 0.5}, only=("block.attn",)), set()),
        (Asked(round_to_for={"*:heads": 2}), set()),
    ],
)  # fmt: skip
def test_kinds_are_freed_by_heads_or_by_a_glob_that_spells_them(asked: Asked, freed: set[str]) -> None:
    slots = (Slot("block.attn.weight", 0, "out"),)
    kinds = {"heads": ":heads", "kv heads": ":kv-heads", "convolution groups": ":groups"}
    groups = [Group(f"block.attn{ending}", 4, slots, kind) for kind, ending in kinds.items()]
    assert {group.kind for group in groups if asked.frees(group)} == freed


def test_limits_on_every_group_hold_for_single_ones() -> None:
    asked = Asked(ratio_for={"a": 0.95})
    asked.check(Limits(protect=0.05), SCHEMES["protected"])
    asked.check(Limits(protect=0.1), SCHEMES["global"])
    with pytest.raises(UsageError, match=r"--ratio-for a=0\.95 leaves less than --protect 0\.1") as caught:
        asked.check(Limits(protect=0.1), SCHEMES["protected"])
    assert caught.value.hint == "--protect 0.05"
    with pytest.raises(UsageError, match=r"--heads 0\.6 is more than --max-ratio 0\.5") as caught:
        Asked(heads=0.6).check(Limits(max_ratio=0.5), SCHEMES["global"])
    assert caught.value.hint == "--max-ratio 0.6"


def test_the_ratio_of_a_group_of_a_kind_is_that_of_a_glob_or_of_heads() -> None:
    slots = (Slot("attn.q.weight", 0, "out"),)
    heads = Group("attn.q:heads", 4, slots, "heads")
    groups = Group("conv:groups", 4, slots, "convolution groups")
    asked = Asked(heads=0.5, ratio_for={"*.k:heads": 0.25, "*:groups": 0.75, "*": 0.1})
    assert asked.ratio_of(heads) == 0.5
    assert asked.ratio_of(groups) == 0.75
    assert Asked(heads=0.5, ratio_for={"*.q:heads": 0.0}).ratio_of(heads) == 0.0
    assert Asked(heads=0.5, ignore=("attn.q",)).ratio_of(heads) is None
    assert Asked(ratio_for={"*": 0.5}).ratio_of(heads) is None

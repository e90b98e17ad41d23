"""Options on single groups: what they mean for a space, and what they say of each other."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from spaces import attention, chain, residual

from prunecli.coupling.space import Bundle, Group, Member, Space
from prunecli.errors import ImpossibleError, UsageError
from prunecli.selection import SCHEMES, Asked, Limits
from prunecli.selection.asked import Own, counted


def reasons(space: Space) -> dict[str, str]:
    return {group.name: group.frozen for group in space.groups if group.frozen is not None}


def tied(*strides: int, reason: str | None = "chunk") -> Space:
    """Groups g0, g1, ... in one bundle, and one more that is free."""
    space = chain(*(8 * stride for stride in strides), 10).space()
    bundle = Bundle(tuple(Member(f"g{i}", stride) for i, stride in enumerate(strides)), reason)
    return replace(space, bundles=(bundle, space.bundles[-1]))


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


def test_ignore_freezes_what_matches_and_says_where_nothing_does() -> None:
    singled = Asked(ignore=("inner*", "inner0", "fc")).read(residual().space(), alone=False)
    assert reasons(singled.space) == dict.fromkeys(["inner0", "inner1"], "ignored by --ignore inner*")
    assert len(singled.space.bundles) == 1
    assert singled.notes == ("--ignore fc: no group has its units there, nothing to leave out",)


def test_only_freezes_the_rest() -> None:
    singled = Asked(only=("block0.conv1", "stream")).read(residual().space(), alone=False)
    assert reasons(singled.space) == {"inner1": "not in --only"}
    both = Asked(only=("inner*",), ignore=("inner1",)).read(residual().space(), alone=False)
    assert reasons(both.space) == {"stream": "not in --only", "inner1": "ignored by --ignore inner1"}


@pytest.mark.parametrize("option", ["only", "ignore"])
def test_a_misspelt_glob_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} streem matches no"):
        Asked(**{option: ("streem",)}).read(residual().space(), alone=False)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--ratio-for streem=0\.5 matches no"):
        Asked(ratio_for={"streem": 0.5}).read(residual().space(), alone=False)
    with pytest.raises(UsageError, match="--round-to-for streem=8 matches no"):
        Asked(round_to_for={"streem": 8}).read(residual().space(), alone=False)


def test_ratios_go_to_every_group_that_matches() -> None:
    asked = Asked(ratio_for={"inner*": 0.25, "stream": 0.0})
    singled = asked.read(residual().space(), alone=False)
    own = Own(0.25, "--ratio-for inner*=0.25")
    assert singled.own == {"inner0": own, "inner1": own}
    assert reasons(singled.space) == {"stream": "kept whole by --ratio-for stream=0"}


def test_without_a_target_nothing_else_is_touched() -> None:
    singled = Asked(ratio_for={"inner0": 0.25}).read(residual().space(), alone=True)
    said = "--ratio-for inner0=0.25 asks nothing of it"
    assert reasons(singled.space) == {"stream": said, "inner1": said}


def test_heads_are_every_group_of_heads_and_a_glob_overrules() -> None:
    space = attention(frozen_heads=False).space()
    assert Asked(heads=0.5).read(space, alone=False).own == {"qkv:heads": Own(0.5, "--heads 0.5")}
    singled = Asked(heads=0.5, ratio_for={"*:heads": 0.25}).read(space, alone=False)
    assert singled.own["qkv:heads"].ratio == 0.25
    singled = Asked(heads=0.5, ignore=("qkv:heads",)).read(space, alone=False)
    assert singled.own == {}
    assert Asked(heads=0.5, only=("width",)).read(space, alone=False).own == {}


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
    from prunecli.coupling.space import Slot

    slots = (Slot("block.attn.weight", 0, "out"),)
    kinds = {"heads": ":heads", "kv heads": ":kv-heads", "convolution groups": ":groups"}
    groups = [Group(f"block.attn{ending}", 4, slots, kind) for kind, ending in kinds.items()]
    assert {group.kind for group in groups if asked.frees(group)} == freed


def test_a_layer_means_its_channels_and_not_its_heads() -> None:
    space = attention().space()
    assert set(Asked(ratio_for={"qkv": 0.5}).read(space, alone=False).own) == {"head_dim"}
    assert set(Asked(ratio_for={"*": 0.5}).read(space, alone=False).own) == {"width", "head_dim"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(ignore=("inner0",), ratio_for={"inner*": 0.5}), "--ratio-for inner.=0.5 and --ignore inner0"),
        (Asked(only=("inner0",), ratio_for={"inner1": 0.5}), "--ratio-for inner1=0.5 and --only"),
        (
            Asked(ratio_for={"inner0": 0.5, "inner*": 0.25}),
            "--ratio-for inner0=0.5 and --ratio-for inner.*=0.25",
        ),
        (Asked(round_to_for={"inner0": 8, "inner*": 4}), "both name group 'inner0'"),
    ],
)  # fmt: skip
def test_options_that_contradict_each_other(asked: Asked, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        asked.read(residual().space(), alone=False)
    assert caught.value.hint


def test_the_same_said_twice_is_no_contradiction() -> None:
    asked = Asked(ratio_for={"inner0": 0.5, "inner*": 0.5}, round_to_for={"inner0": 8, "inner*": 8})
    singled = asked.read(residual().space(), alone=False)
    assert {name: own.ratio for name, own in singled.own.items()} == {"inner0": 0.5, "inner1": 0.5}
    assert singled.multiples == {"inner0": 8, "inner1": 8}


def test_a_bundle_follows_the_member_that_was_asked_and_says_so() -> None:
    singled = Asked(ratio_for={"g1": 0.25}).read(tied(1, 2), alone=False)
    assert set(singled.own) == {"g1"}
    assert singled.notes == ("--ratio-for g1=0.25: the sizes of 'g0' are tied to it and follow (chunk)",)
    assert Asked(ratio_for={"g0": 0.25, "g1": 0.25}).read(tied(1, 2), alone=False).notes == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(ratio_for={"g0": 0.25, "g1": 0.5}), "different ratios of 'g0' and 'g1', whose sizes are tied"),
        (Asked(ratio_for={"g0": 0.25}, ignore=("g1",)), "--ignore g1 contradict each other"),
        (Asked(ratio_for={"g0": 0.25}, only=("g0",)), "--only contradict each other"),
        (Asked(ratio_for={"g0": 0.25, "g1": 0.0}), "--ratio-for g1=0 contradict each other"),
    ],
)  # fmt: skip
def test_a_bundle_cannot_go_two_ways(asked: Asked, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        asked.read(tied(1, 2), alone=False)


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


def test_an_option_that_can_remove_nothing_is_impossible_and_one_that_can_do_part_says_so() -> None:
    space = residual().space().frozen({"inner0": "its size is used in a division"})
    singled = Asked(ratio_for={"inner*": 0.5}).read(space, alone=False)
    assert singled.left_whole(singled.space) == [
        "--ratio-for inner*=0.5: 1 of its 2 groups are left whole: its size is used in a division"
    ]
    singled = Asked(ratio_for={"inner0": 0.5}).read(space, alone=False)
    with pytest.raises(ImpossibleError, match=r"--ratio-for inner0=0\.5 is out of reach.*in a division"):
        singled.left_whole(singled.space)


def test_reasons_are_counted_and_the_long_tail_is_summed() -> None:
    from collections import Counter

    assert counted(Counter({"a": 3, "b": 1})) == "a (3x); b"
    assert counted(Counter({"a": 3, "b": 2, "c": 1, "d": 1})) == "a (3x); b (2x); and 2 more reasons"

"""Options on single groups, read against a network: what they mean, and what they say of each other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from spaces import attention, chain, residual

from prunecli.coupling.space import Bundle, Member, PinnedDim, Space
from prunecli.errors import ImpossibleError, UsageError
from prunecli.selection import Asked
from prunecli.selection.singled import Own, held_for_heads, singled


def reasons(space: Space) -> dict[str, str]:
    return {group.name: group.frozen for group in space.groups if group.frozen is not None}


def tied(*strides: int, reason: str | None = "chunk") -> Space:
    """Groups g0, g1, ... in one bundle, and one more that is free."""
    space = chain(*(8 * stride for stride in strides), 10).space()
    bundle = Bundle(tuple(Member(f"g{i}", stride) for i, stride in enumerate(strides)), reason)
    return replace(space, bundles=(bundle, space.bundles[-1]))


def test_ignore_freezes_what_matches_and_says_where_nothing_does() -> None:
    single = singled(Asked(ignore=("inner*", "inner0", "fc")), residual().space(), alone=False)
    assert reasons(single.space) == dict.fromkeys(["inner0", "inner1"], "ignored by --ignore inner*")
    assert len(single.space.bundles) == 1
    assert single.notes == ("--ignore fc: no group has its units there, nothing to leave out",)


def test_only_freezes_the_rest() -> None:
    single = singled(Asked(only=("block0.conv1", "stream")), residual().space(), alone=False)
    assert reasons(single.space) == {"inner1": "not in --only"}
    both = singled(Asked(only=("inner*",), ignore=("inner1",)), residual().space(), alone=False)
    assert reasons(both.space) == {"stream": "not in --only", "inner1": "ignored by --ignore inner1"}


@pytest.mark.parametrize("option", ["only", "ignore"])
def test_a_misspelt_glob_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} streem matches no"):
        singled(Asked(**{option: ("streem",)}), residual().space(), alone=False)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"--ratio-for streem=0\.5 matches no"):
        singled(Asked(ratio_for={"streem": 0.5}), residual().space(), alone=False)
    with pytest.raises(UsageError, match="--round-to-for streem=8 matches no"):
        singled(Asked(round_to_for={"streem": 8}), residual().space(), alone=False)


def test_ratios_go_to_every_group_that_matches() -> None:
    asked = Asked(ratio_for={"inner*": 0.25, "stream": 0.0})
    single = singled(asked, residual().space(), alone=False)
    own = Own(0.25, "--ratio-for inner*=0.25")
    assert single.own == {"inner0": own, "inner1": own}
    assert reasons(single.space) == {"stream": "kept whole by --ratio-for stream=0"}


def test_without_a_target_nothing_else_is_touched() -> None:
    single = singled(Asked(ratio_for={"inner0": 0.25}), residual().space(), alone=True)
    said = "--ratio-for inner0=0.25 asks nothing of it"
    assert reasons(single.space) == {"stream": said, "inner1": said}


def test_heads_are_every_group_of_heads_and_a_glob_overrules() -> None:
    space = attention(frozen_heads=False).space()
    assert singled(Asked(heads=0.5), space, alone=False).own == {"qkv:heads": Own(0.5, "--heads 0.5")}
    single = singled(Asked(heads=0.5, ratio_for={"*:heads": 0.25}), space, alone=False)
    assert single.own["qkv:heads"].ratio == 0.25
    for left in (Asked(heads=0.5, ignore=("qkv:heads",)), Asked(heads=0.5, only=("width",))):
        with pytest.raises(ImpossibleError, match="no attention heads are left by --only and --ignore"):
            singled(left, space, alone=False)
    with pytest.raises(ImpossibleError, match="no attention heads were found"):
        singled(Asked(heads=0.5), residual().space(), alone=False)


def test_head_sizes_are_held_where_they_and_heads_shrink_only_jointly() -> None:
    space = attention(heads=4, head_dim=6, frozen_heads=False).space()
    members = tuple(Member(name, 1) for name in ("width", "qkv:heads", "head_dim"))
    joint = replace(space, bundles=(Bundle(members, "product", ((5, 1, 1), (10, 2, 1))),))
    for asked in (Asked(heads=0.5), Asked(ratio_for={"*:heads": 0.5})):
        assert set(held_for_heads(asked, joint)) == {"head_dim"}
        assert held_for_heads(asked, space) == {}
    for asked in (Asked(only=("*:heads",)), Asked(ratio_for={"width": 0.5}), Asked()):
        assert held_for_heads(asked, joint) == {}


def test_a_layer_that_has_no_units_of_its_own_says_why() -> None:
    pinned = (PinnedDim("fc.weight", 0, "the network's output"),)
    space = replace(residual().space(), pinned=pinned)
    with pytest.raises(ImpossibleError, match=r"dimension 0 of fc\.weight is pinned, the network's output"):
        singled(Asked(ratio_for={"fc": 0.5}), space, alone=False)
    assert singled(Asked(ratio_for={"fc": 0.0}), space, alone=False).own == {}


def test_a_layer_means_its_channels_and_not_its_heads() -> None:
    space = attention().space()
    assert set(singled(Asked(ratio_for={"qkv": 0.5}), space, alone=False).own) == {"head_dim"}
    assert set(singled(Asked(ratio_for={"*": 0.5}), space, alone=False).own) == {"width", "head_dim"}


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
        singled(asked, residual().space(), alone=False)
    assert caught.value.hint


def test_the_same_said_twice_is_no_contradiction() -> None:
    asked = Asked(ratio_for={"inner0": 0.5, "inner*": 0.5}, round_to_for={"inner0": 8, "inner*": 8})
    single = singled(asked, residual().space(), alone=False)
    assert {name: own.ratio for name, own in single.own.items()} == {"inner0": 0.5, "inner1": 0.5}
    assert single.multiples == {"inner0": 8, "inner1": 8}


def test_a_bundle_follows_the_member_that_was_asked_and_says_so() -> None:
    single = singled(Asked(ratio_for={"g1": 0.25}), tied(1, 2), alone=False)
    assert set(single.own) == {"g1"}
    assert single.notes == ("--ratio-for g1=0.25: the sizes of 'g0' are tied to it and follow (chunk)",)
    assert singled(Asked(ratio_for={"g0": 0.25, "g1": 0.25}), tied(1, 2), alone=False).notes == ()


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
        singled(asked, tied(1, 2), alone=False)


def test_an_option_that_can_remove_nothing_is_impossible_and_one_that_can_do_part_says_so() -> None:
    space = residual().space().frozen({"inner0": "its size is used in a division"})
    single = singled(Asked(ratio_for={"inner*": 0.5}), space, alone=False)
    assert single.left_whole(single.space) == [
        "--ratio-for inner*=0.5: 1 of its 2 groups are left whole: its size is used in a division"
    ]
    single = singled(Asked(ratio_for={"inner0": 0.5}), space, alone=False)
    with pytest.raises(ImpossibleError, match=r"--ratio-for inner0=0\.5 is out of reach.*in a division"):
        single.left_whole(single.space)

"""Schemes on small spaces, by properties that do not depend on how the search is done."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spaces import Sketch, attention, chain, concatenation, residual

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Guard, Member, Space
from prunecli.criteria import Scores
from prunecli.errors import ImpossibleError, UsageError
from prunecli.selection import SCHEMES, Limits, Scheme, Selection, Target, register_scheme, select
from prunecli.selection.singled import Own


def scores_of(space: Space, values: dict[str, list[float]] | None = None, seed: int = 0) -> Scores:
    generator = torch.Generator().manual_seed(seed)
    drawn = {g.name: torch.rand(g.size, generator=generator) for g in space.groups if g.frozen is None}
    return Scores(drawn | {name: torch.tensor(v) for name, v in (values or {}).items()}, {})


def kept(selection: Selection, space: Space, group: str) -> list[int]:
    return list(selection.keep.get(group, range(space.sizes[group])))


def test_global_takes_the_lowest_scores_of_all() -> None:
    space = chain(4, 4).space()
    scores = scores_of(space, {"g0": [0.9, 0.1, 0.8, 0.2], "g1": [0.7, 0.6, 0.3, 0.95]})
    selection = select(space, scores, scheme="global", target=Target("ratio", 3 / 8))
    assert selection.keep == {"g0": (0, 2), "g1": (0, 1, 3)}
    assert selection.figure == 3 / 8


def test_local_takes_the_same_fraction_whatever_the_scores() -> None:
    space = chain(8, 16).space()
    scores = scores_of(space, {"g0": [float(i) for i in range(8)], "g1": [100.0 + i for i in range(16)]})
    for name in ("local", "uniform"):
        selection = select(space, scores, scheme=name, target=Target("ratio", 0.5))
        assert selection.keep == {"g0": tuple(range(4, 8)), "g1": tuple(range(8, 16))}


def test_local_never_exceeds_the_ratio_in_a_group() -> None:
    space = chain(5, 8).space()
    selection = select(space, scores_of(space), scheme="local", target=Target("ratio", 0.5))
    assert selection.sizes == {"g0": 3, "g1": 4}
    assert "less was removed than --ratio 0.5 asks" in selection.notes[0]


def test_protected_leaves_the_floor_and_takes_the_rest_elsewhere() -> None:
    space = chain(20, 20).space()
    scores = scores_of(space, {"g0": [0.0] * 20, "g1": [1.0] * 20})
    free = select(space, scores, scheme="global", target=Target("ratio", 0.5))
    assert free.sizes == {"g0": 1, "g1": 19}
    guarded = select(
        space, scores, scheme="protected", target=Target("ratio", 0.5), limits=Limits(protect=0.25)
    )
    assert guarded.sizes == {"g0": 5, "g1": 15}


@pytest.mark.parametrize("scheme", ["global", "local", "protected"])
def test_ties_break_by_unit_index_and_evenly_over_groups(scheme: str) -> None:
    space = chain(8, 8).space()
    scores = scores_of(space, {"g0": [0.0] * 8, "g1": [0.0] * 8})
    selection = select(space, scores, scheme=scheme, target=Target("ratio", 0.5))
    assert selection.keep == {"g0": (4, 5, 6, 7), "g1": (4, 5, 6, 7)}


sketches = st.sampled_from([lambda: chain(24, 40, 16), residual, concatenation, lambda: attention(4, 16)])
schemes = st.sampled_from(sorted(["local", "uniform", "global", "protected"]))


@given(sketches, schemes, st.floats(0.05, 0.95), st.floats(0.05, 0.6), st.floats(0.3, 1), st.integers(0, 99))
@settings(max_examples=80)
def test_floors_and_caps_hold_and_the_cost_is_the_target(
    make, scheme: str, keep: float, protect: float, cap: float, seed: int
) -> None:  # type: ignore[no-untyped-def]
    space = make().space()
    limits = Limits(protect=protect, max_ratio=cap)
    try:
        selection = select(
            space, scores_of(space, seed=seed), scheme=scheme, target=Target("flops", keep), limits=limits
        )
    except ImpossibleError:
        selection = None
    floors = {}
    for group in space.groups:
        floor = max(1, math.ceil(protect * group.size - 1e-9) if scheme == "protected" else 1)
        floors[group.name] = max(floor, group.size - math.floor(cap * group.size + 1e-9))
        if group.frozen:
            floors[group.name] = group.size
    dense = space.macs.value(space.sizes)
    if selection is None:
        assert space.macs.value(floors) > keep * dense
        return
    assert all(size >= floors[name] for name, size in selection.sizes.items())
    assert {name: len(kept) for name, kept in selection.keep.items()} == {
        name: size for name, size in selection.sizes.items() if size < space.sizes[name]
    }
    reached = space.macs.value(selection.sizes)
    assert selection.figure == pytest.approx(reached / dense)
    assert reached <= keep * dense * 1.005 + 1e-6


@given(schemes, st.integers(0, 50))
@settings(max_examples=25)
def test_units_that_stay_score_no_lower_than_those_that_go(scheme: str, seed: int) -> None:
    space = residual().space()
    scores = scores_of(space, seed=seed)
    selection = select(space, scores, scheme=scheme, target=Target("params", 0.4))
    for name, keep in selection.keep.items():
        values = scores.by_group[name]
        gone = [unit for unit in range(space.sizes[name]) if unit not in keep]
        assert min(values[list(keep)]) >= max(values[gone])


@given(schemes, st.integers(0, 50))
@settings(max_examples=20)
def test_more_asked_is_more_removed(scheme: str, seed: int) -> None:
    space = chain(32, 48, 24).space()
    costs = [
        space.macs.value(
            select(space, scores_of(space, seed=seed), scheme=scheme, target=Target("speedup", s)).sizes
        )
        for s in (1.2, 1.5, 2, 3, 5)
    ]
    assert costs == sorted(costs, reverse=True)


@given(st.sampled_from([2, 4, 8]), schemes, st.floats(0.2, 0.8), st.integers(0, 20))
@settings(max_examples=40)
def test_widths_are_multiples(multiple: int, scheme: str, keep: float, seed: int) -> None:
    space = chain(32, 20, 64).space()
    limits = Limits(round_to=multiple)
    selection = select(
        space, scores_of(space, seed=seed), scheme=scheme, target=Target("flops", keep), limits=limits
    )
    for name, size in selection.sizes.items():
        assert size % multiple == 0 or size == space.sizes[name]


def test_a_group_too_narrow_to_round_takes_any_width_and_is_named() -> None:
    space = chain(32, 6).space()
    selection = select(
        space, scores_of(space), scheme="local", target=Target("ratio", 0.5), limits=Limits(round_to=8)
    )
    assert selection.sizes == {"g0": 16, "g1": 3}
    assert any("cannot be a multiple of 8: g1" in note for note in selection.notes)


def test_no_narrower_multiple_leaves_a_group_whole_with_the_reason() -> None:
    space = chain(32, 8).space()
    selection = select(
        space, scores_of(space), scheme="global", target=Target("speedup", 2), limits=Limits(round_to=8)
    )
    assert "no unit to spare" in selection.whole["g1"]
    assert selection.sizes["g1"] == 8


def tied(stride: int) -> Space:
    """Two groups of which one is ``stride`` times the other and stays so."""
    return chain(8, 8 * stride, 10).space(
        (Bundle((Member("g0", 1), Member("g1", stride)), "chunk"), Bundle((Member("g2", 1),)))
    )


@given(st.integers(1, 3), schemes, st.floats(0.1, 0.9), st.integers(0, 50))
@settings(max_examples=40)
def test_bundles_keep_their_proportion(stride: int, scheme: str, keep: float, seed: int) -> None:
    space = tied(stride)
    try:
        selection = select(space, scores_of(space, seed=seed), scheme=scheme, target=Target("params", keep))
    except ImpossibleError:
        return
    assert selection.sizes["g1"] == stride * selection.sizes["g0"]


def test_a_stride_scores_the_mean_of_the_units_it_removes() -> None:
    space = tied(2)
    scores = scores_of(space, {"g0": [0.3] * 8, "g1": [0.6] * 16, "g2": [0.4, 0.6] * 5})
    selection = select(space, scores, scheme="global", target=Target("ratio", 5 / 34))
    assert selection.sizes == {"g0": 8, "g1": 16, "g2": 5}  # a stride has (0.3 + 0.6 + 0.6) / 3 = 0.5


def test_an_impossible_target_says_how_far_and_why() -> None:
    space = chain(8, 8).space().frozen({"g0": "ignored by --ignore g0"})
    with pytest.raises(ImpossibleError) as caught:
        select(space, scores_of(space), scheme="protected", target=Target("speedup", 1000))
    least = space.macs.value({"g0": 8, "g1": 1})
    best = space.macs.value(space.sizes) / least
    assert f"--speedup 1000 is out of reach: the best is {best:.4g}x" in caught.value.message
    assert "1 of 2 groups are left whole: ignored by --ignore g0" in caught.value.message
    assert caught.value.hint == "ask for less, or lift --protect 0.1"


def test_a_local_ratio_beyond_the_cap_is_impossible() -> None:
    space = chain(8, 8).space()
    with pytest.raises(ImpossibleError, match=r"the best is 0\.25$") as caught:
        select(
            space,
            scores_of(space),
            scheme="local",
            target=Target("ratio", 0.5),
            limits=Limits(max_ratio=0.25),
        )
    assert caught.value.hint == "ask for less, or lift --max-ratio 0.25"


def test_nothing_left_to_remove_is_impossible() -> None:
    space = chain(8).space().frozen({"g0": "not scorable: no BatchNorm"})
    for scheme in SCHEMES:
        for target in (Target("ratio", 0.5), Target("speedup", 2)):
            with pytest.raises(ImpossibleError, match=r"nothing can be removed; .*no BatchNorm"):
                select(space, scores_of(space), scheme=scheme, target=target)


def test_more_than_asked_because_widths_are_coarse_is_said() -> None:
    space = chain(4).space()
    selection = select(space, scores_of(space), scheme="global", target=Target("speedup", 1.5))
    assert selection.sizes == {"g0": 2}
    assert "more was removed than --speedup 1.5 asks" in selection.notes[0]


def test_a_wide_network_is_hit_within_a_thousandth() -> None:
    space = chain(64, 128, 256, 128).space()
    for scheme in SCHEMES:
        for speedup in (1.5, 2, 4, 8):
            selection = select(space, scores_of(space), scheme=scheme, target=Target("speedup", speedup))
            assert selection.figure == pytest.approx(speedup, rel=2e-3), scheme


def test_enforced_guards_restrict_the_widths_of_a_bundle() -> None:
    g0 = Polynomial.variable("g0")
    space = chain(32, 32).space()
    guard = Guard(g0, "%0", Polynomial.constant(5), "x % 5")
    selection = select(space, scores_of(space), scheme="local", target=Target("ratio", 0.5), enforced=[guard])
    assert selection.sizes == {"g0": 20, "g1": 16}


def test_the_limits_refer_to_the_dense_sizes() -> None:
    space = chain(20, 20).space()
    half = space.resized({"g0": 10, "g1": 10})
    selection = select(
        half, scores_of(half, {"g0": [0.0] * 10, "g1": [1.0] * 10}), scheme="protected",
        target=Target("ratio", 0.6), limits=Limits(protect=0.4), dense=space.sizes,
    )  # fmt: skip
    assert selection.sizes == {"g0": 8, "g1": 8}


def test_unknown_and_duplicate_schemes() -> None:
    space = chain(8).space()
    with pytest.raises(UsageError, match="unknown scheme 'globl'") as caught:
        select(space, scores_of(space), scheme="globl", target=Target("ratio", 0.5))
    assert (caught.value.hint or "").startswith("did you mean global")
    with pytest.raises(ValueError, match="'local' is registered twice"):
        register_scheme(replace(SCHEMES["local"]))
    assert all(isinstance(scheme, Scheme) and scheme.summary and scheme.source for scheme in SCHEMES.values())


def test_a_sketch_without_groups_is_impossible() -> None:
    space = Sketch().space()
    with pytest.raises(ImpossibleError, match="nothing can be removed"):
        select(space, Scores({}, {}), scheme="global", target=Target("speedup", 2))


def owns(**ratios: float) -> dict[str, Own]:
    return {name: Own(ratio, f"--ratio-for {name}={ratio:g}") for name, ratio in ratios.items()}


@given(st.integers(2, 64), st.floats(0.01, 0.99), schemes)
@settings(max_examples=60)
def test_a_ratio_of_its_own_is_met_to_the_nearest_unit(size: int, ratio: float, scheme: str) -> None:
    space = chain(size, 32).space()
    selection = select(
        space, scores_of(space), scheme=scheme, target=None, limits=Limits(protect=0), own=owns(g0=ratio)
    )
    left = selection.sizes["g0"]
    assert abs(left - size * (1 - ratio)) <= max(0.5, 1 - size * (1 - ratio)) + 1e-6
    assert left >= 1
    assert selection.sizes["g1"] == 32
    values = scores_of(space).by_group["g0"]
    assert list(kept(selection, space, "g0")) == sorted(torch.topk(values, left).indices.tolist())


@given(schemes, st.floats(0.3, 0.7), st.floats(0.1, 0.9))
@settings(max_examples=40)
def test_beside_a_target_the_others_make_up_for_it(scheme: str, keep: float, ratio: float) -> None:
    space = chain(64, 50, 64).space()
    selection = select(
        space, scores_of(space), scheme=scheme, target=Target("params", keep),
        own=owns(g1=ratio), limits=Limits(protect=0), tolerance=0.02,
    )  # fmt: skip
    assert selection.sizes["g1"] == pytest.approx(50 * (1 - ratio), abs=0.5)
    least = space.params.value({"g0": 64, "g1": selection.sizes["g1"], "g2": 64})
    if least <= keep * space.params.value(space.sizes):
        assert selection.sizes["g0"] == selection.sizes["g2"] == 64
        within = least >= keep * space.params.value(space.sizes) * (1 - 0.02)
        assert within or "more was removed" in selection.notes[0]
    else:
        assert selection.figure == pytest.approx(keep, rel=0.02)


def test_a_ratio_target_counts_the_units_that_are_left_to_it() -> None:
    space = chain(40, 40, 20).space()
    for scheme in ("local", "global"):
        selection = select(
            space, scores_of(space), scheme=scheme, target=Target("ratio", 0.5), own=owns(g2=0.1)
        )
        assert selection.sizes["g0"] + selection.sizes["g1"] == 40
        assert selection.sizes["g2"] == 18
        assert selection.figure == 0.5


@pytest.mark.parametrize(("ratio", "left"), [(0.3, 14), (0.5, 10), (0.1, 18), (0.74, 6), (0.76, 4)])
def test_a_bundle_goes_to_its_nearest_width(ratio: float, left: int) -> None:
    space = chain(20, 30, 9).space(
        (Bundle((Member("g0", 2), Member("g1", 3)), "tied"), Bundle((Member("g2", 1),)))
    )
    for name in ("g0", "g1"):
        selection = select(
            space, scores_of(space), scheme="global", target=None, own={name: Own(ratio, "--ratio-for")}
        )
        assert selection.sizes == {"g0": left, "g1": left * 3 // 2, "g2": 9}


def test_multiples_hold_for_groups_with_a_ratio_of_their_own() -> None:
    space = chain(64, 64).space()
    selection = select(
        space, scores_of(space), scheme="global", target=Target("params", 0.5), limits=Limits(round_to=8),
        own=owns(g0=0.3), multiples={"g1": 5}, tolerance=0.1,
    )  # fmt: skip
    assert selection.sizes["g0"] == 48  # 44.8 asked
    assert selection.sizes["g1"] % 5 == 0


def test_the_nearest_width_may_be_all_of_it_and_that_is_a_reason() -> None:
    space = chain(3, 32).space()
    selection = select(space, scores_of(space), scheme="global", target=None, own=owns(g0=0.1))
    assert selection.sizes["g0"] == 3
    assert selection.whole["g0"] == "no width that it may have is nearer to --ratio-for g0=0.1"


def test_what_single_groups_may_lose_can_put_a_target_out_of_reach() -> None:
    space = chain(32, 32).space().frozen({"g1": "not in --only"})
    with pytest.raises(ImpossibleError) as caught:
        select(space, scores_of(space), scheme="global", target=Target("params", 0.1), own=owns(g0=0.25))
    assert caught.value.hint == "ask for less, or lift --only"
    best = space.params.value({"g0": 24, "g1": 32}) / space.params.value(space.sizes)
    assert caught.value.message == (
        f"--params 0.1 is out of reach: the best is {best:.4g}; 1 of 2 groups are left whole: not in --only; "
        "--ratio-for g0=0.25 decides on 1"
    )
    with pytest.raises(ImpossibleError, match="nothing can be removed"):
        select(space, scores_of(space), scheme="global", target=Target("ratio", 0.1), own=owns(g0=0.25))

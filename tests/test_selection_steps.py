"""Steps of bundles: fixed strides, and ladders of the only sizes that are possible."""

from __future__ import annotations

import pytest
import torch
from spaces import chain

from prunecli.coupling.space import Bundle, Member, Space
from prunecli.criteria import Scores
from prunecli.selection import Limits, Target
from prunecli.selection.select import select
from prunecli.selection.singled import Own
from prunecli.selection.steps import Steps, build_steps

# 24 = 4 x 6: joint sizes (20, 4, 5), (15, 3, 5), (12, 3, 4), (6, 2, 3), (2, 1, 2).
LADDER = ((4, 0, 1), (9, 1, 1), (12, 1, 2), (18, 2, 3), (22, 3, 4))


def climbing() -> Space:
    members = tuple(Member(name, 1) for name in ("g0", "g1", "g2"))
    return chain(24, 4, 6, 16).space((Bundle(members, "product", LADDER), Bundle((Member("g3", 1),))))


def scores_of(space: Space) -> Scores:
    generator = torch.Generator().manual_seed(0)
    return Scores({g.name: torch.rand(g.size, generator=generator) for g in space.groups}, {})


def steps_of(space: Space, floor: int = 1, scores: Scores | None = None) -> Steps:
    floors = dict.fromkeys(space.sizes, floor)
    return build_steps(space, scores or scores_of(space), space.sizes, floors, dict.fromkeys(space.sizes, 1))


def test_every_level_of_a_ladder_is_one_of_its_rungs() -> None:
    steps = steps_of(climbing())
    assert steps.highest.tolist() == [5, 15]
    for level, gone in enumerate([(0, 0, 0), *LADDER]):
        sizes = steps.sizes_at(torch.tensor([level, 3]).numpy())
        assert sizes.tolist() == [24 - gone[0], 4 - gone[1], 6 - gone[2], 13]


def test_floors_hold_on_a_ladder() -> None:
    assert steps_of(climbing(), floor=3).highest.tolist() == [3, 13]


def test_a_stage_is_scored_by_the_mean_of_what_it_removes() -> None:
    values = {"g0": torch.arange(24.0), "g1": torch.tensor([10.0, 0, 20, 30]), "g2": torch.arange(6.0) * 100}
    steps = steps_of(climbing(), scores=Scores({**values, "g3": torch.ones(16)}, {}))
    # First stage: units 0..3 of g0 and unit 0 of g2; second: 4..8 of g0 and unit 1 of g1.
    first, second = (0 + 1 + 2 + 3 + 0) / 5, (4 + 5 + 6 + 7 + 8 + 0) / 6
    assert steps.score[:2].tolist() == pytest.approx([first, second])
    assert steps.fraction[:5].tolist() == pytest.approx([gone[0] / 24 for gone in LADDER])


@pytest.mark.parametrize("scheme", ["local", "global", "protected"])
@pytest.mark.parametrize("share", [0.35, 0.6])
def test_selection_lands_on_a_rung(scheme: str, share: float) -> None:
    space = climbing()
    chosen = select(
        space, scores_of(space), scheme=scheme, target=Target("params", share), limits=Limits(protect=0),
        tolerance=0.1,
    )  # fmt: skip
    gone = tuple(space.sizes[name] - chosen.sizes[name] for name in ("g0", "g1", "g2"))
    assert gone in ((0, 0, 0), *LADDER)
    assert all(len(chosen.keep[name]) == chosen.sizes[name] for name in chosen.keep)


def test_a_second_round_goes_on_from_the_rung_of_the_first() -> None:
    space = climbing().resized({"g0": 15, "g1": 3, "g2": 5, "g3": 10})
    steps = steps_of(space)
    reached = [tuple(steps.sizes_at(torch.tensor([level, 0]).numpy())[:3].tolist()) for level in range(4)]
    assert reached == [(15, 3, 5), (12, 3, 4), (6, 2, 3), (2, 1, 2)]


def test_a_ratio_of_its_own_takes_the_nearest_rung() -> None:
    space = climbing()
    own = {"g1": Own(0.5, "--heads 0.5")}
    chosen = select(space, scores_of(space), scheme="local", target=None, limits=Limits(protect=0), own=own)
    assert [chosen.sizes[name] for name in space.sizes] == [6, 2, 3, 16]

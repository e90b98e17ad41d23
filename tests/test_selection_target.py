"""Targets and limits: what is accepted, and what they amount to."""

from __future__ import annotations

import math

import pytest
from spaces import chain

from prunecli.errors import UsageError
from prunecli.selection import Limits, Target


@pytest.mark.parametrize(("kind", "good"), [("speedup", 2), ("flops", 0.5), ("params", 0.5), ("ratio", 0.5)])
@pytest.mark.parametrize("bad", [0.0, 1.0, -1.0, math.nan, math.inf])
def test_values_out_of_range_are_refused_and_a_good_one_is_not(kind: str, good: float, bad: float) -> None:
    Target(kind, good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"--{kind} "):
        Target(kind, bad)  # type: ignore[arg-type]


def test_a_speedup_below_one_says_so() -> None:
    with pytest.raises(UsageError, match=r"--speedup 0\.5 is not above 1"):
        Target("speedup", 0.5)


@pytest.mark.parametrize(
    "options",
    [{"protect": -0.1}, {"protect": 1.0}, {"max_ratio": 0.0}, {"max_ratio": 1.1}, {"round_to": 0}],
)
def test_limits_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="--"):
        Limits(**options)  # type: ignore[arg-type]


def test_goals_and_figures_are_inverse() -> None:
    space = chain(8, 8).space()
    for target in (Target("speedup", 4), Target("flops", 0.25), Target("params", 0.3), Target("ratio", 0.6)):
        dense = target.cost(space, ["g0", "g1"]).value(space.sizes) * 1000
        assert target.figure(dense, round(target.goal(dense))) == pytest.approx(target.value, rel=1e-3)


def test_rounds_keep_geometrically_less() -> None:
    assert Target("speedup", 8).part(1 / 3).value == pytest.approx(2)
    assert Target("params", 0.25).part(1 / 2).value == pytest.approx(0.5)
    assert Target("ratio", 0.75).part(1 / 2).value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("limits", "protected", "floor"),
    [(Limits(protect=0.1), True, 3), (Limits(protect=0.1), False, 1), (Limits(protect=0.11), True, 4),
     (Limits(max_ratio=0.6), False, 12), (Limits(protect=0, max_ratio=1), True, 1),
     (Limits(protect=0.5, max_ratio=0.3), True, 21)],
)  # fmt: skip
def test_floors_of_thirty_units(limits: Limits, protected: bool, floor: int) -> None:
    assert limits.floors({"g": 30}, protected=protected) == {"g": floor}

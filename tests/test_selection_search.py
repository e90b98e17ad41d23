"""Hitting goals, where greedy prefixes and single steps do not suffice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spaces import chain

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Bundle, Group, Member, Space
from prunecli.criteria import Scores
from prunecli.selection.cost import CompiledCost
from prunecli.selection.schemes import SCHEMES
from prunecli.selection.search import first_prefix, hit
from prunecli.selection.steps import Steps, build_steps


def steps_of(space: Space, seed: int = 0) -> tuple[Steps, CompiledCost]:
    generator = torch.Generator().manual_seed(seed)
    scores = Scores({g.name: torch.rand(g.size, generator=generator) for g in space.groups}, {})
    ones = dict.fromkeys(space.sizes, 1)
    steps = build_steps(space, scores, space.sizes, ones, ones)
    return steps, CompiledCost(space.macs, steps.names, space.sizes, steps.bundle_of)


def coarse_and_fine() -> Space:
    """One bundle whose steps are worth 100 each, one of steps worth 1."""
    return Space(
        (Group("coarse", 120, ()), Group("fine", 400, ())), {},
        (Bundle((Member("coarse", 12),), "tied to a head count"), Bundle((Member("fine", 1),))),
        (), (), (), Polynomial({("coarse",): 10, ("fine",): 1}), Polynomial({}),
    )  # fmt: skip


@pytest.mark.parametrize("goal", [1555, 1313, 977, 801])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_coarse_strides_do_not_keep_from_the_goal(goal: int, seed: int) -> None:
    steps, cost = steps_of(coarse_and_fine(), seed)
    order = SCHEMES["global"].order(steps)
    level = hit(steps, order, cost, goal, 0.005)
    assert abs(cost.value(steps.sizes_at(level)) - goal) <= goal * 0.001


def test_the_shortest_prefix_is_found() -> None:
    steps, cost = steps_of(chain(12, 20, 9).space())
    order = SCHEMES["global"].order(steps)
    costs = [cost.value(steps.sizes_at(steps.reached(order, p))) for p in range(len(order) + 1)]
    for goal in (costs[0], costs[7] + 0.5, costs[20], costs[-1], costs[-1] - 1):
        expected = next((p for p, value in enumerate(costs) if value <= goal), len(order) + 1)
        assert first_prefix(steps, order, cost, goal) == expected


def test_a_prefix_that_hits_is_left_as_it_is() -> None:
    steps, cost = steps_of(chain(12, 20, 9).space())
    order = SCHEMES["global"].order(steps)
    level = steps.reached(order, 11)
    assert np.array_equal(hit(steps, order, cost, cost.value(steps.sizes_at(level)), 0.005), level)


def test_orders_take_the_steps_of_a_bundle_in_turn() -> None:
    steps, _ = steps_of(coarse_and_fine())
    for scheme in SCHEMES.values():
        order = scheme.order(steps)
        assert sorted(order.tolist()) == list(range(len(steps.bundle)))
        for bundle in range(2):
            assert (np.diff(order[steps.bundle[order] == bundle]) == 1).all()

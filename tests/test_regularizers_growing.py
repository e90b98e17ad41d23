from __future__ import annotations

import pytest
import torch
from criteria_networks import Case, case
from test_regularizers_units import slices
from torch import Tensor

from prunecli.regularizers import Regularized, Units, find_regularizer
from prunecli.regularizers.growing import Growing

DECAY = 5e-4


def every_other(units: Units) -> dict[str, Tensor]:
    name, group = next(iter(units.groups.items()))
    return {name: torch.arange(group.size) % 2 == 1}


def started(name: str, subject: Case, steps: int = 1000, **values: float) -> tuple[Growing, list[int]]:
    method = find_regularizer(name)
    units, picks = Units(subject.space, subject.module), list[int]()

    def pick() -> dict[str, Tensor]:
        picks.append(made.step)
        return every_other(units)

    made = method.make(Regularized(units, method.values(values), frozenset(values), steps, DECAY, pick))
    assert isinstance(made, Growing)
    return made, picks


def paper(
    steps: int, every: int, tau: float, fast: float, slow: float = 0.0, pick_at: float | None = None
) -> tuple[list[float], int | None]:
    """The factor in force at each step as Algorithm 1 writes it down, with the factor held at its ceiling
    afterwards, and the step of the pick.
    """
    factor, factors = 0.0, []
    picked = 0 if pick_at is None else None
    for i in range(steps):
        if i % every == 0:
            if picked is None and pick_at is not None and factor > pick_at:
                picked = i
            if factor < tau:
                factor = min(tau, factor + (slow if picked is None else fast))
        factors.append(factor)
    return factors, picked


@pytest.mark.parametrize(("every", "delta"), [(1, 0.03), (10, 0.1), (7, 0.4)])
def test_greg_1_grows_as_the_algorithm_says(every: int, delta: float) -> None:
    regularizer, picks = started("greg-1", case("residual"), every=every, delta=delta)
    found = []
    for _ in range(150):
        regularizer.after_backward()
        found.append(regularizer.factor)
    wanted, picked = paper(150, every, 1.0, delta)
    assert found == wanted
    assert picks == [picked]
    assert found[-1] == 1.0 or 150 // every * delta < 1


def test_greg_2_picks_once_all_have_been_pulled() -> None:
    numbers = {"every": 5, "delta": 0.1, "delta-all": 0.004}
    regularizer, picks = started("greg-2", case("residual"), **numbers)
    found = []
    for _ in range(120):
        regularizer.after_backward()
        found.append(regularizer.factor)
    wanted, picked = paper(120, 5, 1.0, 0.1, 0.004, 0.01)
    assert found == wanted
    assert picks == [picked] == [15]
    assert found[-1] == 1.0


@pytest.mark.parametrize("name", ["greg-1", "greg-2"])
@pytest.mark.parametrize("steps", [30, 500, 9999])
def test_the_ceiling_is_reached_in_two_thirds_of_the_steps(name: str, steps: int) -> None:
    regularizer, _ = started(name, case("residual"), steps=steps)
    ladder = regularizer.ladder
    factors, _ = paper(steps, ladder.every, 1.0, ladder.fast, ladder.slow, ladder.pick_at)
    reached = next(i for i, factor in enumerate(factors) if factor >= 1 - 1e-9)
    assert reached <= steps * 2 / 3 + 2 * ladder.every
    assert reached >= steps / 2 - 2 * ladder.every


def test_gradients_before_and_after_the_pick_of_greg_2() -> None:
    subject = case("residual")
    regularizer, _ = started("greg-2", subject, every=1, **{"delta": 0.1, "delta-all": 0.006})
    first = subject.module.first.weight
    name = next(iter(regularizer.units.groups))
    assert name.startswith("stem"), name
    regularizer.after_backward()
    # Of each weight of this convolution both the row and the column are units of some group.
    torch.testing.assert_close(first.grad, 2 * 0.006 * first.detach())
    for _ in range(2):
        first.grad = None
        regularizer.after_backward()
    assert regularizer.picked is not None
    picked = regularizer.picked[name]
    assert first.grad is not None
    torch.testing.assert_close(first.grad[:, picked], regularizer.factor * first.detach()[:, picked])
    torch.testing.assert_close(first.grad[:, ~picked], -DECAY * first.detach()[:, ~picked])


def test_kept_units_of_greg_1_are_left_alone() -> None:
    subject = case("residual")
    regularizer, _ = started("greg-1", subject, every=1, delta=0.1)
    regularizer.after_backward()
    assert regularizer.picked is not None
    (going,) = regularizer.picked.values()
    weight = subject.module.stem.weight
    assert weight.grad is not None
    assert not weight.grad[~going].any()
    torch.testing.assert_close(weight.grad[going], 0.1 * weight.detach()[going])


def test_picked_units_that_are_gone_are_pulled_no_stronger() -> None:
    subject = case("residual")
    regularizer, _ = started("greg-1", subject, every=1, delta=0.1)
    for _ in range(3):
        regularizer.after_backward()
    assert not regularizer.facts()["converged"]
    before, (name, going) = regularizer.factor, next(iter((regularizer.picked or {}).items()))
    weights = {key: parameter.data for key, parameter in subject.module.named_parameters()}
    for group, unit, _, mine in slices(subject.space, weights):
        if group == name and bool(going[unit]):
            for piece in mine:
                piece.mul_(1e-6)
    regularizer.after_backward()
    assert regularizer.facts()["converged"]
    assert regularizer.factor == before


def test_the_ratio_is_that_of_the_slot_where_it_is_smallest() -> None:
    subject = case("residual")
    regularizer, _ = started("greg-1", subject, every=1, delta=0.1)
    regularizer.after_backward()
    assert regularizer.picked is not None
    (going,) = regularizer.picked.values()
    with torch.no_grad():
        for parameter in subject.module.parameters():
            parameter.fill_(1.0)
    assert regularizer.ratio() == pytest.approx(1.0)
    with torch.no_grad():
        subject.module.stem_norm.bias[going] = 4.0
    assert regularizer.ratio() == pytest.approx(0.25)


@pytest.mark.parametrize("name", ["greg-1", "greg-2"])
def test_it_goes_on_from_its_state(name: str) -> None:
    values = {"every": 3.0, "delta": 0.05} | ({"delta-all": 0.004} if name == "greg-2" else {})
    whole, _ = started(name, case("residual"), **values)
    for _ in range(40):
        whole.after_backward()
    first, _ = started(name, case("residual"), **values)
    for _ in range(17):
        first.after_backward()
    second, picks = started(name, case("residual"), **values)
    second.load_state_dict(first.state_dict())
    for _ in range(23):
        second.after_backward()
    assert (second.step, second.factor) == (whole.step, whole.factor)
    assert picks == [] or first.picked is None

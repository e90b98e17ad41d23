"""choose(): rounds, freezing, guards, and the tensors it leaves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spaces import Sketch, attention, chain, concatenation, residual

from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Guard
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.selection import Asked, Choice, Limits, Target, choose
from prunecli.surgery import cut


def run(sketch: Sketch, **options: Any) -> Choice:
    guards = options.pop("guards", ())
    tensors = options.pop("tensors", None) or sketch.tensors()
    settings = {"criterion": "magnitude-l2", "scheme": "protected", "target": Target("speedup", 2)} | options
    return choose(sketch.space(guards=guards), tensors, **settings)


def test_one_round_is_score_select_cut() -> None:
    sketch = chain(32, 48, 24)
    choice = run(sketch)
    again = cut(sketch.tensors(), sketch.space(), choice.plan.keep)
    assert choice.tensors.keys() == again.keys()
    assert all(torch.equal(choice.tensors[name], again[name]) for name in again)
    assert choice.space.sizes == {n: len(choice.plan.keep.get(n, range(s))) for n, s in sketch.sizes.items()}
    assert choice.reached == pytest.approx(2, rel=0.005)
    assert len(choice.step_seconds) == 1
    for name, kept in choice.stay.items():
        order = choice.scores[name].argsort(stable=True)
        assert kept == tuple(sorted(order[-len(kept) :].tolist()))


def test_the_scores_are_those_that_the_last_round_chose_by() -> None:
    sketch = chain(32, 48, 24)
    choice = run(sketch, steps=2)
    left = {name: len(scores) for name, scores in choice.scores.items()}
    assert all(choice.space.sizes[name] < left[name] < size for name, size in sketch.sizes.items())
    assert {name: len(kept) for name, kept in choice.stay.items()} == choice.space.sizes


@pytest.mark.parametrize("target", [Target("speedup", 4), Target("params", 0.3), Target("ratio", 0.6)])
@pytest.mark.parametrize("scheme", ["local", "uniform", "global", "protected"])
def test_rounds_compose_to_one_plan_on_the_dense_network(scheme: str, target: Target) -> None:
    sketch = residual()
    choice = run(sketch, scheme=scheme, target=target, steps=4, limits=Limits(protect=0.2))
    again = cut(sketch.tensors(), sketch.space(), choice.plan.keep)
    assert all(torch.equal(choice.tensors[name], again[name]) for name in again)
    assert len(choice.step_seconds) == 4
    assert choice.reached == pytest.approx(target.value, rel=0.1)
    if scheme == "protected":
        assert all(size >= 0.2 * sketch.sizes[name] for name, size in choice.space.sizes.items())


def test_every_round_scores_anew() -> None:
    """The filter that is heavy only through an input that goes is lighter in the second round."""
    sketch = chain(2, 2)
    tensors = {name: torch.zeros_like(t) for name, t in sketch.tensors().items()}
    tensors["conv0.weight"][0], tensors["conv0.weight"][1] = 0.01, 1.0
    tensors["conv1.weight"][0, 0], tensors["conv1.weight"][1, 1] = 3.0, 1.0
    tensors["conv1.weight"][:, 0] *= 0.3
    options: dict[str, Any] = {"scheme": "local", "target": Target("ratio", 0.5), "tensors": tensors}
    assert run(sketch, **options).plan.keep["g0"] == (1,)
    assert run(sketch, steps=2, **options).space.sizes == {"g0": 1, "g1": 1}


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize("criterion", ["magnitude-l1", "magnitude-l2", "bn-scale", "lamp", "fpgm", "random"])
@pytest.mark.parametrize("scheme", ["local", "global", "protected"])
def test_equal_weights_still_reach_the_target(fill: float, criterion: str, scheme: str) -> None:
    sketch = chain(32, 48, 24)
    tensors = {name: torch.full_like(tensor, fill) for name, tensor in sketch.tensors().items()}
    choice = run(sketch, tensors=tensors, criterion=criterion, scheme=scheme)
    assert choice.reached == pytest.approx(2, rel=0.005)


def test_the_same_call_chooses_the_same() -> None:
    assert run(residual(), steps=3).plan == run(residual(), steps=3).plan


def test_groups_that_cannot_be_scored_are_left_whole_with_the_reason() -> None:
    choice = run(concatenation(), criterion="bn-scale", target=Target("ratio", 0.5))
    assert choice.space.by_name["a"].frozen == "not scorable: no BatchNorm"
    assert choice.space.sizes == {"a": 8, "b": 6}
    assert choice.reached == 0.5
    with pytest.raises(ImpossibleError, match="not scorable: no BatchNorm"):
        run(attention(), criterion="bn-scale")


def test_ignored_groups_stay_and_the_rest_reaches_the_target() -> None:
    choice = run(residual(), asked=Asked(ignore=("stem",)))
    assert choice.space.by_name["stream"].frozen == "ignored by --ignore stem"
    assert choice.space.sizes["stream"] == 16
    assert choice.reached == pytest.approx(2, rel=0.03)


def test_a_group_without_room_gets_a_reason() -> None:
    choice = run(chain(32, 8, 32), limits=Limits(round_to=8))
    assert "no unit to spare" in (choice.space.by_name["g1"].frozen or "")
    assert choice.space.by_name["g0"].frozen is None


def test_a_guard_on_one_bundle_restricts_its_widths() -> None:
    guard = Guard(Polynomial.variable("g0"), "%0", Polynomial.constant(8), "layer.forward: width % 8")
    choice = run(chain(32, 48, 24), guards=(guard,))
    assert choice.space.sizes["g0"] % 8 == 0
    assert choice.space.by_name["g0"].frozen is None
    assert choice.reached == pytest.approx(2, rel=0.005)


def test_a_guard_across_bundles_leaves_its_groups_whole() -> None:
    guard = Guard(Polynomial.variable("g0"), "<", Polynomial.variable("g1"), "forward: a < b")
    sketch = chain(32, 33, 64)
    tensors = sketch.tensors()
    tensors["conv0.weight"] *= 100
    tensors["fc.weight"] *= 100
    options: dict[str, Any] = {
        "scheme": "global",
        "normalize": "none",
        "target": Target("speedup", 1.5),
        "tolerance": 0.05,
    }
    free = run(sketch, tensors=tensors, **options).space.sizes
    assert free["g0"] == 32 > free["g1"]
    choice = run(sketch, guards=(guard,), tensors=tensors, **options)
    assert choice.space.sizes["g0"] == 32
    assert choice.space.by_name["g1"].frozen == "forward: a < b relies on its size"
    assert any("forward: a < b" in note for note in choice.notes)


def test_a_guard_that_never_held_is_said() -> None:
    guard = Guard(Polynomial.constant(3), "==", Polynomial.constant(4), "forward: 3 == 4")
    with pytest.raises(ImpossibleError, match="forward: 3 == 4 does not hold in the dense network either"):
        run(chain(8), guards=(guard,))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "--steps 0"), ({"tolerance": -1}, "--tolerance -1"), ({"scheme": "globl"}, "'globl'"),
     ({"criterion": "l3"}, "'l3'"), ({"asked": Asked(ignore=("nothing*",))}, "--ignore nothing")],
)  # fmt: skip
def test_wrong_use(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(chain(8), **options)


def test_nan_weights_are_refused_by_name() -> None:
    sketch = chain(8, 8)
    tensors = sketch.tensors()
    tensors["bn1.weight"][2] = float("nan")
    with pytest.raises(InputError, match=r"'bn1\.weight'"):
        run(sketch, tensors=tensors)


def test_an_unreachable_target_names_itself_and_not_a_round() -> None:
    with pytest.raises(ImpossibleError, match="--speedup 1000 is out of reach: the best is"):
        run(chain(32, 32), target=Target("speedup", 1000), steps=5)


@pytest.mark.parametrize("scheme", ["local", "uniform", "global", "protected"])
@pytest.mark.parametrize("steps", [1, 3])
def test_heads_alone_lose_their_fraction_and_nothing_else_does(scheme: str, steps: int) -> None:
    sketch = attention(heads=8, head_dim=6, frozen_heads=False)
    choice = run(sketch, scheme=scheme, steps=steps, target=None, asked=Asked(heads=0.5))
    assert choice.space.sizes == {"width": 20, "qkv:heads": 4, "head_dim": 6}
    assert choice.tensors["qkv.weight"].shape == (3 * 4 * 6, 20)
    assert choice.tensors["proj.weight"].shape == (20, 4 * 6)
    assert choice.space.by_name["width"].frozen == "--heads 0.5 asks nothing of it"
    assert set(choice.plan.keep) == {"qkv:heads"}
    assert choice.notes == ()


@pytest.mark.parametrize("scheme", ["local", "uniform", "global", "protected"])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(
    "target", [Target("speedup", 2), Target("flops", 0.5), Target("params", 0.5), Target("ratio", 0.4)]
)
def test_own_ratios_hold_beside_every_target_scheme_and_number_of_rounds(
    target: Target, steps: int, scheme: str
) -> None:
    sketch = chain(40, 64, 48)
    choice = run(
        sketch, scheme=scheme, steps=steps, target=target, asked=Asked(ratio_for={"g1": 0.25, "conv0": 0.0})
    )
    assert choice.space.sizes["g1"] == 48
    assert choice.space.sizes["g0"] == 40
    assert choice.reached == pytest.approx(target.value, rel=0.05)


def test_rounds_may_start_above_a_target_that_only_the_last_one_reaches() -> None:
    """What a group with its own ratio still has in the first round must not count as all it can give."""
    sketch = chain(64, 64, 64)
    asked = Asked(ratio_for={"g*": 0.75})
    choice = run(sketch, steps=5, target=Target("speedup", 3), asked=asked, scheme="global")
    assert set(choice.space.sizes.values()) == {16}
    assert any("more was removed than --speedup 3" in note for note in choice.notes)


def test_an_own_ratio_that_the_criterion_cannot_score_is_impossible() -> None:
    sketch = attention(frozen_heads=False)
    with pytest.raises(
        ImpossibleError, match=r"--heads 0\.5 is out of reach.*not scorable: no BatchNorm"
    ) as caught:
        run(sketch, criterion="bn-scale", target=None, asked=Asked(heads=0.5))
    assert caught.value.hint == "--criterion magnitude-l2 scores every group"


def test_an_own_ratio_respects_guards_or_is_impossible() -> None:
    guard = Guard(Polynomial.variable("g0"), "%0", Polynomial.constant(8), "forward: width % 8")
    choice = run(chain(32, 48), guards=(guard,), target=None, asked=Asked(ratio_for={"g0": 0.3}))
    assert choice.space.sizes == {"g0": 24, "g1": 48}
    assert choice.notes == (
        "--ratio-for g0=0.3 is not met to a unit, since widths are that coarse: 'g0' 24 of 32 stay",
    )
    smaller = Guard(Polynomial.variable("g0"), "<", Polynomial.variable("g1"), "forward: a < b")
    with pytest.raises(ImpossibleError, match=r"removes nothing: .*'g1' 33 of 33 stay"):
        run(chain(32, 33), guards=(smaller,), target=None, asked=Asked(ratio_for={"g1": 0.5}))


def test_a_ratio_too_small_for_any_unit_is_impossible() -> None:
    with pytest.raises(ImpossibleError, match=r"--heads 0\.1 removes nothing: all units of a group are"):
        run(attention(heads=4, frozen_heads=False), target=None, asked=Asked(heads=0.1))


def test_nothing_to_do_is_wrong_usage() -> None:
    for asked in (Asked(), Asked(only=("g0",)), Asked(ratio_for={"g0": 0.0})):
        with pytest.raises(UsageError, match="no target given"):
            run(chain(8), target=None, asked=asked)

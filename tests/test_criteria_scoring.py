"""Scores against plain float64 loops over elements, which share no code with the room."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from spaces import Sketch, attention, chain, concatenation, residual
from torch import Tensor

from prunecli.coupling.axes import Axis, Concat, Fixed, Product, Units
from prunecli.coupling.space import Slot, Space
from prunecli.criteria import score
from prunecli.errors import InputError, UsageError

SKETCHES: dict[str, Callable[[], Sketch]] = {
    "chain": lambda: chain(6, 5, 4),
    "residual": residual,
    "attention": lambda: attention(frozen_heads=False),
    "concatenation": concatenation,
}


def indices_of(axis: Axis, space: Space) -> list[dict[str, int]]:
    """For every index of ``axis``, the unit of each group that owns it: written anew, one index at a time."""
    if isinstance(axis, Fixed):
        return [{} for _ in range(axis.size)]
    if isinstance(axis, Units):
        return [{axis.group: unit} for unit in range(space.sizes[axis.group])]
    if isinstance(axis, Concat):
        return [owner for part in axis.parts for owner in indices_of(part, space)]
    assert isinstance(axis, Product)
    combined = itertools.product(*(indices_of(factor, space) for factor in axis.factors))
    return [{name: unit for owner in owners for name, unit in owner.items()} for owners in combined]


def unit_rows(space: Space, tensors: dict[str, Tensor], slot: Slot, group: str) -> list[list[float]]:
    """The elements of the slot that each unit owns."""
    owners = indices_of(space.axes[slot.parameter][slot.dim], space)
    tensor = tensors[slot.parameter].double()
    rows: list[list[float]] = [[] for _ in range(space.sizes[group])]
    for index, owner in enumerate(owners):
        if group in owner:
            rows[owner[group]] += tensor.select(slot.dim, index).flatten().tolist()
    return rows


def expected(space: Space, tensors: dict[str, Tensor], group: str, criterion: str) -> list[float]:
    size = space.sizes[group]
    total = [0.0] * size
    for slot in space.by_name[group].slots:
        rows = unit_rows(space, tensors, slot, group)
        for unit in range(size):
            if criterion == "magnitude-l1":
                total[unit] += math.fsum(abs(w) for w in rows[unit])
            elif criterion in ("magnitude-l2", "lamp"):
                total[unit] += math.fsum(w * w for w in rows[unit])
            elif criterion == "bn-scale" and slot.parameter.startswith("bn") and ".weight" in slot.parameter:
                total[unit] += math.fsum(abs(w) for w in rows[unit])
            elif criterion == "fpgm" and slot.role in ("out", "in"):
                total[unit] += math.fsum(math.dist(rows[unit], other) for other in rows)
    if criterion == "magnitude-l2":
        return [math.sqrt(value) for value in total]
    if criterion == "lamp":
        ranked = sorted(range(size), key=lambda unit: (total[unit], unit))
        return [total[u] / math.fsum(total[v] for v in ranked[ranked.index(u) :]) for u in range(size)]
    return total


@pytest.mark.parametrize("name", SKETCHES)
@pytest.mark.parametrize("criterion", ["magnitude-l1", "magnitude-l2", "lamp", "fpgm"])
def test_scores_are_those_of_a_plain_loop(name: str, criterion: str) -> None:
    sketch = SKETCHES[name]()
    space, tensors = sketch.space(), sketch.tensors()
    scores = score(space, tensors, criterion, normalize="none")
    assert set(scores.by_group) == set(space.sizes)
    for group, values in scores.by_group.items():
        assert values.dtype == torch.float32
        assert values.tolist() == pytest.approx(expected(space, tensors, group, criterion), rel=1e-6)


def test_bn_scale_reads_only_the_gamma_of_batch_norms() -> None:
    sketch = chain(6, 5)
    space, tensors = sketch.space(), sketch.tensors()
    scores = score(space, tensors, "bn-scale")
    for group, values in scores.by_group.items():
        assert values.tolist() == pytest.approx(expected(space, tensors, group, "bn-scale"), rel=1e-6)


def test_a_group_without_batch_norm_is_not_scorable() -> None:
    mixed = concatenation()
    scores = score(mixed.space(), mixed.tensors(), "bn-scale")
    assert scores.not_scorable == {"a": "no BatchNorm"}
    assert set(scores.by_group) == {"b"}
    layer_norm = attention()
    assert set(score(layer_norm.space(), layer_norm.tensors(), "bn-scale").not_scorable) == {
        "width",
        "head_dim",
    }


def test_reduce_combines_slots_before_the_finish() -> None:
    sketch = chain(4, 3)
    space, tensors = sketch.space(), sketch.tensors()
    w0, w1 = tensors["conv0.weight"].double(), tensors["conv1.weight"].double()
    parts = torch.stack([
        w0.square().sum((1, 2, 3)), tensors["bn0.weight"].double() ** 2, tensors["bn0.bias"].double() ** 2,
        w1.square().sum((0, 2, 3)),
    ])  # fmt: skip
    by_rule = {"sum": parts.sum(0), "mean": parts.mean(0), "max": parts.amax(0), "first": parts[0]}
    for rule, statistic in by_rule.items():
        values = score(space, tensors, "magnitude-l2", reduce=rule, normalize="none").by_group["g0"]
        torch.testing.assert_close(values, statistic.sqrt().float())


def test_mean_counts_only_slots_that_say_something() -> None:
    sketch = residual()
    space, tensors = sketch.space(), sketch.tensors()
    gammas = [tensors[f"{name}.weight"].abs() for name in ("stem_bn", "block0.bn2", "block1.bn2")]
    values = score(space, tensors, "bn-scale", reduce="mean").by_group["stream"]
    torch.testing.assert_close(values, torch.stack(gammas).mean(0))


@pytest.mark.parametrize(
    ("criterion", "scheme", "mean_is_one"),
    [("magnitude-l2", "protected", True), ("magnitude-l1", "global", True), ("fpgm", "global", True),
     ("magnitude-l2", "local", False), ("magnitude-l2", "uniform", False), ("lamp", "global", False),
     ("bn-scale", "protected", False), ("random", "protected", False)],
)  # fmt: skip
def test_the_default_normalization(criterion: str, scheme: str, mean_is_one: bool) -> None:
    sketch = chain(6)
    values = score(sketch.space(), sketch.tensors(), criterion, scheme=scheme).by_group["g0"]
    assert (float(values.mean()) == pytest.approx(1, abs=1e-6)) is mean_is_one
    plain = score(sketch.space(), sketch.tensors(), criterion, normalize="none").by_group["g0"]
    assert torch.equal(values, plain) is not mean_is_one


def test_random_depends_on_seed_and_group_name_alone() -> None:
    small, large = chain(6), chain(6, 9)
    a = score(small.space(), small.tensors(), "random", seed=3).by_group["g0"]
    b = score(large.space(), large.tensors(1), "random", seed=3).by_group["g0"]
    assert torch.equal(a, b)
    # Pinned: the same numbers on every machine and with every version.
    assert a.tolist() == pytest.approx([0.142394, 0.171456, 0.506857, 0.387956, 0.143535, 0.194311], abs=1e-6)
    assert not torch.equal(a, score(small.space(), small.tensors(), "random", seed=4).by_group["g0"])
    assert not torch.equal(b[:5], score(large.space(), large.tensors(), "random").by_group["g1"][:5])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_are_summed_in_float64(dtype: torch.dtype) -> None:
    sketch = chain(6, 5)
    tensors = {name: (tensor * 100).to(dtype) for name, tensor in sketch.tensors().items()}
    values = score(sketch.space(), tensors, "magnitude-l2", normalize="none").by_group["g0"]
    assert values.tolist() == pytest.approx(expected(sketch.space(), tensors, "g0", "magnitude-l2"), rel=1e-6)


def test_a_parameter_larger_than_a_block_is_summed_whole() -> None:
    sketch = Sketch()
    out, into = sketch.units("out", 300), sketch.units("in", 700)
    sketch.linear("layer", out, into)
    tensors = sketch.tensors()
    scores = score(sketch.space(), tensors, "magnitude-l1", normalize="none").by_group
    weight = tensors["layer.weight"].double().abs()
    torch.testing.assert_close(scores["in"], weight.sum(0).float())
    torch.testing.assert_close(scores["out"], (weight.sum(1) + tensors["layer.bias"].double().abs()).float())


def test_frozen_groups_are_not_scored() -> None:
    sketch = attention(frozen_heads=True)
    assert "qkv:heads" not in score(sketch.space(), sketch.tensors(), "magnitude-l2").by_group


def test_threads_do_not_change_scores_and_are_given_back() -> None:
    sketch = chain(64, 128, 64)
    before = torch.get_num_threads()
    try:
        seen = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            seen.append(score(sketch.space(), sketch.tensors(), "magnitude-l2").by_group)
            assert torch.get_num_threads() == threads
        assert all(torch.equal(seen[0][group], seen[1][group]) for group in seen[0])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_score_that_is_not_finite_names_the_tensor(bad: float) -> None:
    sketch = chain(6, 5)
    tensors = sketch.tensors()
    tensors["conv1.weight"][0, 0, 0, 0] = bad
    with pytest.raises(InputError, match=r"NaN or Inf in the magnitude-l2 scores of 'conv1.weight'"):
        score(sketch.space(), tensors, "magnitude-l2")


def test_a_missing_tensor_is_named() -> None:
    sketch = chain(6)
    with pytest.raises(InputError, match=r"no tensor 'bn0\.bias', which group 'g0' touches"):
        score(sketch.space(), {k: v for k, v in sketch.tensors().items() if k != "bn0.bias"}, "lamp")


@pytest.mark.parametrize(
    ("criterion", "options", "message", "hint"),
    [("magnitude-l3", {}, "unknown criterion 'magnitude-l3'", "did you mean magnitude-l"),
     ("lamp", {"reduce": "summ"}, "unknown reduction 'summ'", "did you mean sum?"),
     ("lamp", {"normalize": "gauss"}, "unknown normalization 'gauss'", "did you mean gaussian?")],
)  # fmt: skip
def test_unknown_names(criterion: str, options: dict[str, str], message: str, hint: str) -> None:
    sketch = chain(6)
    with pytest.raises(UsageError, match=message) as caught:
        score(sketch.space(), sketch.tensors(), criterion, **options)  # type: ignore[arg-type]
    assert (caught.value.hint or "").startswith(hint)


def test_a_group_whose_slots_say_nothing_is_reported() -> None:
    sketch = chain(6)
    space = sketch.space()
    space = replace(space, groups=tuple(replace(group, slots=()) for group in space.groups))
    scores = score(space, sketch.tensors(), "fpgm")
    assert scores.not_scorable == {"g0": "no convolution or linear weight"}

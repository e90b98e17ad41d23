"""First-order estimates against plain float64 loops over samples."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from criteria_checks import check, engine, everywhere, many_of, reference_of
from criteria_networks import CLASSES, Case, case
from criteria_reference import Reference

from prunecli.criteria import Scores
from prunecli.errors import ImpossibleError
from prunecli.losses import drawn


@everywhere
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("rule", ["sum", "mean", "max", "first"])
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_slots_are_reduced_sample_by_sample(criterion: str, rule: str) -> None:
    for name in ("residual", "attention"):
        check(criterion, reference_of(name, "dense"), torch.float64, reduce=rule)


@pytest.mark.parametrize("options", [{}, {"memory": 1}])
@pytest.mark.parametrize("criterion", ["taylor", "fisher"])
def test_every_chunk_of_samples_counts(criterion: str, options: dict[str, Any]) -> None:
    for name in ("residual", "attention"):
        check(criterion, many_of(name), torch.float64, **options)


def test_labels_that_are_drawn_are_labels_like_any_other() -> None:
    given = case("residual")
    outputs = torch.cat([given.module(x) for x in given.inputs])
    labels = drawn(outputs[:, None], 5, 0)[:, 0].tolist()
    assert len(set(labels)) > 1
    reference = Reference(replace(given, labels=tuple(labels)))
    check("taylor", reference, torch.float64, labelled=False, seed=5)


def same(left: Scores, right: Scores) -> bool:
    return all(torch.equal(values, right.by_group[name]) for name, values in left.by_group.items())


def test_drawn_labels_depend_on_the_seed_alone() -> None:
    def scores(case: Case, **options: Any) -> Scores:
        return engine(case, "taylor", torch.float64, labelled=False, **options)

    given = case("transposed", samples=19)
    first = scores(given)
    assert same(first, scores(given))
    assert not same(first, scores(given, seed=1))
    for name, values in scores(given, memory=1).by_group.items():
        torch.testing.assert_close(values, first.by_group[name])


@pytest.mark.parametrize("over", ["samples", "seeds"])
def test_labels_are_drawn_as_often_as_the_softmax_says(over: str) -> None:
    outputs = case("transposed").module(case("transposed").inputs[0]).detach()
    times = 3000
    if over == "samples":
        found = drawn(outputs.expand(times, 1, -1), 7, 0).flatten()
    else:
        found = torch.cat([drawn(outputs[None], seed, 3).flatten() for seed in range(times)])
    share = torch.bincount(found, minlength=CLASSES) / times
    wanted = outputs[0].softmax(0)
    deviation = (wanted * (1 - wanted) / times).sqrt()
    assert bool(((share - wanted).abs() < 4 * deviation).all()), (share, wanted)


def test_a_loss_that_says_nothing_ranks_nothing() -> None:
    given = case("residual")
    head = given.module.get_submodule("head")
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.bias[0] = 1e4  # type: ignore[index]
    with pytest.raises(ImpossibleError, match="zero everywhere"):
        engine(replace(given, labels=(0,) * len(given.labels)), "taylor", torch.float64)

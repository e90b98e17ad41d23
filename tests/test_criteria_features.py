"""What consumers are given, against plain float64 loops over samples, units and maps."""

from __future__ import annotations

import pytest
import torch
from criteria_checks import check, engine, everywhere, many_of, reference_of
from criteria_networks import case


@everywhere
@pytest.mark.parametrize("criterion", ["activation", "wanda", "hrank"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("rule", ["sum", "max", "first"])
@pytest.mark.parametrize("criterion", ["activation", "wanda", "hrank"])
def test_consumers_are_reduced_as_asked(criterion: str, rule: str) -> None:
    check(criterion, reference_of("residual", "dense"), torch.float64, reduce=rule)


@pytest.mark.parametrize("criterion", ["activation", "wanda", "hrank"])
def test_every_chunk_of_samples_counts(criterion: str) -> None:
    for name in ("grouped", "transposed"):
        check(criterion, many_of(name), torch.float64)


def test_labels_do_not_matter() -> None:
    given = case("residual")
    for criterion in ("activation", "wanda", "hrank"):
        with_labels = engine(given, criterion, torch.float32).by_group
        without = engine(given, criterion, torch.float32, labelled=False).by_group
        assert all(torch.equal(values, without[name]) for name, values in with_labels.items())


def test_groups_that_nothing_takes_are_reported() -> None:
    attention = case("attention")
    scores = engine(attention, "wanda", torch.float32)
    assert scores.not_scorable == {"q": "no operation with weights takes its units"}
    ranks = engine(attention, "hrank", torch.float32)
    assert set(ranks.not_scorable.values()) == {"no 2-D feature map"} and not ranks.by_group

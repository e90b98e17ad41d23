"""LASSO paths and greedy choices against explicit columns of contributions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from criteria_checks import check, check_one, everywhere, many_of, reference_of
from criteria_networks import Case, case
from criteria_reference import Array, Reference, entries, thrown

from prunecli.criteria import gather, lasso, reconstruction


@everywhere
@pytest.mark.parametrize("criterion", ["cp", "thinet"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("options", [{}, {"memory": 1}])
@pytest.mark.parametrize("criterion", ["cp", "thinet"])
def test_every_chunk_of_samples_counts(criterion: str, options: dict[str, Any]) -> None:
    """Also where memory holds one Gram matrix at a time."""
    for name in ("residual", "transposed"):
        check(criterion, many_of(name), torch.float64, **options)


def columns(seed: int) -> Array:
    """Columns that have much in common, so that some leave the path and come back; some are nothing."""
    generator = np.random.default_rng(seed)
    count, rows = generator.integers(1, 25), generator.integers(1, 40)
    mixed = np.eye(count) + generator.choice([0, 0.3, 1]) * generator.normal(size=(count, count))
    found: Array = generator.normal(size=(rows, count)) @ mixed
    if seed % 5 == 0:
        found[:, count // 2] = 0
    return found


def test_paths_and_choices_on_columns_that_have_much_in_common() -> None:
    for seed in range(200):
        found = columns(seed)
        gram = torch.from_numpy(found.T @ found)
        entered = lasso.entries(gram, gram.sum(1)).numpy()
        check_one(entered, entries(found), 1e-6, f"columns {seed}")
        assert reconstruction.greedy(gram).tolist() == thrown(found).tolist(), seed


def grams(case: Case, seed: int) -> dict[str, Array]:
    """What the tool adds up over a group's consumers."""
    evidence = gather(case.module, case.space, case.samples(torch.float64), criteria=("cp",), seed=seed)
    found: dict[str, Array] = {}
    for (group, _, _), gram in evidence.grams.items():
        found[group] = found.get(group, 0) + gram.numpy()
    return found


@pytest.mark.parametrize(("name", "shape"), [("grouped", (3, 6, 6)), ("grouped queries", (36, 5))])
def test_a_sample_of_positions_stands_for_all(name: str, shape: tuple[int, ...]) -> None:
    """16 of 36 positions or tokens: the same for a seed, and in the mean over seeds those of all."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(4, *shape, generator=generator).double().split(1)
    large = replace(case(name), inputs=inputs, labels=(0,) * 4)
    reference = Reference(large)
    times = 80
    drawn = [grams(large, seed) for seed in range(times)]
    for group, again in grams(large, 0).items():
        columns = reference.contributions(large.space.by_name[group])
        wanted = columns.T @ columns
        errors = [np.linalg.norm(each[group] - wanted) / np.linalg.norm(wanted) for each in drawn]
        mean = sum(each[group] for each in drawn) / times
        assert np.array_equal(again, drawn[0][group])
        # 80 draws are 9 times as exact as one; groups read by small maps alone are exact in each.
        assert np.linalg.norm(mean - wanted) < np.linalg.norm(wanted) * (np.mean(errors) / 4 + 1e-12)
        assert max(errors) < 0.5

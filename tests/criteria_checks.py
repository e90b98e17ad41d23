"""The engine's scores of the small networks against the reference's, dense and after half of it is cut."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from criteria_networks import NETWORKS, Case, case
from criteria_reference import Array, Reference, scores_of

from prunecli.assembly import all_tensors
from prunecli.criteria import Scores, gather, score

TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Relative to the largest score of a group, by what the engine runs in."""

ROUNDS = ("dense", "halved")

everywhere = pytest.mark.parametrize(
    ("name", "stage", "dtype"),
    [(name, stage, dtype) for name in NETWORKS for stage in ROUNDS for dtype in TOLERANCES],
)
"""A test for every network, round and type."""


MANY = 19
"""Samples that no single chunk holds."""


@cache
def reference_of(name: str, stage: str) -> Reference:
    """With the cross-entropy of the given labels."""
    dense = case(name)
    return Reference(dense if stage == "dense" else dense.halved())


@cache
def many_of(name: str) -> Reference:
    """The dense network with samples for several chunks."""
    return Reference(case(name, samples=MANY))


def engine(
    case: Case, criterion: str, dtype: torch.dtype, *, reduce: str | None = None, labelled: bool = True,
    **options: Any,
) -> Scores:  # fmt: skip
    """What the tool says; ``options`` are those of ``gather``."""
    module = deepcopy(case.module).to(dtype)
    evidence = gather(
        module, case.space, case.samples(dtype, labelled), criteria=(criterion,), reduce=reduce, **options
    )
    tensors = all_tensors(module)
    return score(case.space, tensors, criterion, evidence=evidence, reduce=reduce, normalize="none")


def check(
    criterion: str, reference: Reference, dtype: torch.dtype, *, reduce: str | None = None, **options: Any
) -> None:
    """Scores agree, and so do the groups that have some."""
    scores = engine(reference.case, criterion, dtype, reduce=reduce, **options)
    wanted = scores_of(reference, criterion, reduce)
    assert set(scores.by_group) == set(wanted)
    assert set(scores.not_scorable) == {group.name for group in reference.case.groups} - set(wanted)
    for name, values in scores.by_group.items():
        check_one(values.double().numpy(), wanted[name], TOLERANCES[dtype], f"{criterion} of {name}")


def check_one(found: Array, wanted: Array, tolerance: float, what: str) -> None:
    allowed = tolerance * float(np.abs(wanted).max())
    worst = float(np.abs(found - wanted).max())
    assert worst <= allowed, f"{what}: off by {worst}\n{found}\n{wanted}"
    half = len(wanted) // 2
    ranked = np.sort(wanted)
    if half and ranked[half] - ranked[half - 1] > allowed:
        assert lowest(found, half) == lowest(wanted, half), what


def lowest(scores: Array, count: int) -> set[int]:
    """The units that are removed first."""
    return set(np.argsort(scores, kind="stable")[:count].tolist())

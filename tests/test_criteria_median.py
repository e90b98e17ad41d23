"""distance_sums against distances taken one pair at a time."""

from __future__ import annotations

import math

import pytest
import torch

from prunecli.criteria import median
from prunecli.criteria.median import distance_sums


def plain(rows: torch.Tensor) -> list[float]:
    listed = rows.tolist()
    return [math.fsum(math.dist(a, b) for b in listed) for a in listed]


@pytest.mark.parametrize("pairs", [5, 1 << 22])
def test_random_rows(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(median, "_PAIRS", pairs)
    rows = torch.randn(13, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert distance_sums(rows).tolist() == pytest.approx(plain(rows), rel=1e-12)


def test_nearly_equal_rows_keep_their_digits() -> None:
    rows = 1e4 + 1e-6 * torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert distance_sums(rows).tolist() == pytest.approx(plain(rows), rel=1e-12)


def test_equal_rows_are_at_distance_zero() -> None:
    assert distance_sums(torch.full((6, 11), 0.1, dtype=torch.float64)).tolist() == [0] * 6

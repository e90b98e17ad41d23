from __future__ import annotations

from math import sqrt

import pytest
import torch

from prunecli.criteria.correlation import Agreement, agreement, average_ranks, spearman


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ((0.3, -1.0, 7.0), [2, 1, 3]),
        ((5.0, 5.0, 5.0), [2, 2, 2]),
        ((2.0, 1.0, 2.0, 1.0, 9.0), [3.5, 1.5, 3.5, 1.5, 5]),
        ((-0.0, 0.0), [1.5, 1.5]),
        ((4.0,), [1]),
    ],
)
def test_ranks_by_hand(values: tuple[float, ...], ranks: list[float]) -> None:
    assert average_ranks(scores(*values)).tolist() == ranks


def test_without_ties_it_is_the_closed_form_of_squared_differences() -> None:
    """1 - 6 sum d^2 / (n (n^2 - 1)): ranks 1 2 3 4 5 against 2 1 4 5 3, so d^2 sums to 1+1+1+1+4."""
    found = spearman(scores(10, 20, 30, 40, 50), scores(0.2, 0.1, 0.4, 0.5, 0.3))
    assert found == pytest.approx(1 - 6 * 8 / (5 * 24), abs=1e-15)


def test_ties_by_hand() -> None:
    """Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5."""
    found = spearman(scores(1, 2, 2, 3), scores(1, 2, 3, 4))
    assert found == pytest.approx(4.5 / sqrt(4.5 * 5), abs=1e-15)


def test_only_the_order_matters_and_the_ends_are_exact() -> None:
    chance = torch.Generator().manual_seed(0)
    values = torch.randn(1001, generator=chance)
    assert spearman(values, values.exp()) == 1.0
    assert spearman(values, -(values**3)) == -1.0
    assert abs(spearman(values, values[torch.randperm(1001, generator=chance)]) or 1.0) < 0.15


def test_what_tells_no_units_apart_has_no_correlation() -> None:
    assert spearman(scores(1, 1, 1), scores(1, 2, 3)) is None
    assert spearman(scores(1), scores(2)) is None


def test_groups_weigh_by_their_units_and_count_where_both_order_them() -> None:
    first = {"a": scores(1, 2), "b": scores(1, 2, 3, 4), "c": scores(1, 1), "only": scores(1, 2)}
    second = {"a": scores(2, 1), "b": scores(10, 20, 30, 40), "c": scores(1, 2)}
    found = agreement(first, second)
    assert (found.within, found.groups, found.units) == (pytest.approx((2 * -1 + 4 * 1) / 6), 2, 8)
    # All together: ranks 2.5 5.5 2.5 5.5 7 8 2.5 2.5 (a, b, c) against 3.5 1.5 5 6 7 8 1.5 3.5.
    a = [value - 4.5 for value in (2.5, 5.5, 2.5, 5.5, 7, 8, 2.5, 2.5)]
    b = [value - 4.5 for value in (3.5, 1.5, 5, 6, 7, 8, 1.5, 3.5)]
    wanted = sum(x * y for x, y in zip(a, b, strict=True)) / sqrt(
        sum(x * x for x in a) * sum(y * y for y in b)
    )
    assert found.across == pytest.approx(wanted, abs=1e-15)


def test_nothing_in_common() -> None:
    assert agreement({"a": scores(1, 2)}, {"b": scores(1, 2)}) == Agreement(None, 0, None, 0)
    found = agreement({"a": scores(1, 1)}, {"a": scores(1, 2)})
    assert (found.within, found.groups, found.across, found.units) == (None, 0, None, 2)

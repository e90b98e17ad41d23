"""The compiled polynomial against the exact one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prunecli.coupling.cost import Polynomial
from prunecli.selection.cost import CompiledCost

NAMES = ["a", "b", "c", "d"]
monomials = st.lists(st.sampled_from(NAMES), max_size=4).map(lambda names: tuple(sorted(names)))
polynomials = st.dictionaries(monomials, st.integers(1, 10**6), max_size=8).map(Polynomial)
widths = st.lists(st.integers(2, 60), min_size=4, max_size=4)


@given(polynomials, widths, st.lists(st.integers(-1, 2), min_size=4, max_size=4))
@settings(max_examples=150)
def test_values_and_changes_are_exact(polynomial: Polynomial, sizes: list[int], change: list[int]) -> None:
    bundle_of = np.array([0, 1, 1, -1])
    present = dict(zip(NAMES, sizes, strict=True))
    cost = CompiledCost(polynomial, NAMES, present, bundle_of)
    change[3] = 0
    assert cost.value(np.array(sizes)) == polynomial.value(present)
    changes = cost.changes(np.array(sizes), np.array(change))
    for bundle, members in enumerate([["a"], ["b", "c"]]):
        moved = present | {n: present[n] + change[NAMES.index(n)] for n in members}
        assert changes[bundle] == polynomial.value(moved) - polynomial.value(present)


def test_beyond_int64_it_is_still_close() -> None:
    polynomial = Polynomial({("a", "b"): 10**18})
    cost = CompiledCost(polynomial, ["a", "b"], {"a": 100, "b": 100}, np.array([0, 1]))
    assert abs(cost.value(np.array([30, 40])) / (12 * 10**20) - 1) < 1e-12

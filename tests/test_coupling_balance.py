"""Sums of sizes made into pairs, by hand."""

from __future__ import annotations

from prunecli.coupling.algebra import Algebra
from prunecli.coupling.balance import balance
from prunecli.coupling.integers import IntegerLog
from prunecli.coupling.nodes import concat, fixed, fresh, leaves


def test_balancing_pairs_the_parts_of_two_chunks() -> None:
    """7 + 6 + 1 == 14: one index has no partner and stays, the rest lose units in pairs."""
    algebra, log = Algebra(), IntegerLog(lambda: "layer")
    seven, six, whole = fresh(7), fresh(6), fresh(14)
    log.same_size(concat([seven, six, fixed(1, "x")]), whole)
    balance(log, algebra)
    left = [atom.size for node in (seven, six) for atom in leaves(node) if atom.pinned is None]
    right = [atom.size for atom in leaves(whole) if atom.pinned is None]
    assert sorted(left) == sorted(right) == [6, 7]

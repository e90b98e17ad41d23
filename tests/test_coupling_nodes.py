"""Normal forms of axes, by hand."""

from __future__ import annotations

from tracing import shape_of

from prunecli.coupling.algebra import Algebra
from prunecli.coupling.nodes import (
    ONE,
    concat,
    fixed,
    fresh,
    is_pinned,
    product,
)


def test_a_single_index_can_never_be_removed() -> None:
    assert fresh(1) is ONE
    assert is_pinned(fresh(1))
    assert not is_pinned(fresh(2))


def test_the_normal_form_is_flat_and_merges_what_is_pinned() -> None:
    a = fresh(3)
    assert shape_of(product([fixed(2, "x"), product([fixed(4, "y"), a]), ONE])) == "(#8*a3)"
    assert shape_of(concat([fixed(2, "x"), concat([fixed(4, "y"), a]), fixed(0, "empty")])) == "(#6+a3)"
    assert product([]) is ONE
    assert product([ONE, a]) is a
    assert concat([]).size == 0


def test_what_gets_pinned_later_is_merged_later() -> None:
    a, b = fresh(3), fresh(2)
    node = product([a, fixed(4, "x"), b])
    assert shape_of(node) == "(a3*#4*b2)"
    Algebra().pin(a, "now")
    assert shape_of(node) == "(#12*a2)"

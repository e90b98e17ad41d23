"""Polynomials against direct evaluation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from prunecli.coupling.cost import Polynomial, exact_quotient

NAMES = ("a", "b", "c")
MONOMIALS = st.lists(st.sampled_from(NAMES), max_size=3).map(lambda names: tuple(sorted(names)))
POLYNOMIALS = st.dictionaries(MONOMIALS, st.integers(-5, 5).filter(bool), max_size=4).map(Polynomial)
SIZES = st.fixed_dictionaries({name: st.integers(1, 9) for name in NAMES})


@settings(max_examples=150)
@given(POLYNOMIALS, POLYNOMIALS, SIZES)
def test_arithmetic_is_that_of_the_values(p: Polynomial, q: Polynomial, sizes: dict[str, int]) -> None:
    assert (p + q).value(sizes) == p.value(sizes) + q.value(sizes)
    assert (p - q).value(sizes) == p.value(sizes) - q.value(sizes)
    assert (p * q).value(sizes) == p.value(sizes) * q.value(sizes)
    assert Polynomial.sum([p, q, p]).value(sizes) == 2 * p.value(sizes) + q.value(sizes)
    assert not (p - p).terms
    assert 0 not in (p * q).terms.values()


@settings(max_examples=100)
@given(POLYNOMIALS, SIZES, SIZES, st.sets(st.sampled_from(NAMES)))
def test_restricting_holds_the_others_still(
    p: Polynomial, sizes: dict[str, int], present: dict[str, int], names: set[str]
) -> None:
    part = p.restricted(frozenset(names), present)
    assert part.groups <= names
    moved = {name: sizes[name] if name in names else present[name] for name in NAMES}
    assert part.value(moved) == p.value(moved)


@settings(max_examples=100)
@given(POLYNOMIALS, MONOMIALS, st.integers(1, 4))
def test_a_product_is_divided_exactly(p: Polynomial, names: tuple[str, ...], coefficient: int) -> None:
    divisor = Polynomial({names: coefficient})
    found = exact_quotient(p * divisor, divisor)
    assert found is not None
    assert found.terms == p.terms


def test_what_does_not_divide_has_no_quotient() -> None:
    a, b, two = Polynomial.variable("a"), Polynomial.variable("b"), Polynomial.constant(2)
    assert exact_quotient(a, b) is None
    assert exact_quotient(a * two + b, two) is None
    assert exact_quotient(a * b, a + b) is None
    assert exact_quotient(a * a * b, a * b) == a


def test_equal_polynomials_hash_alike() -> None:
    a, b = Polynomial.variable("a"), Polynomial.variable("b")
    assert a + b == b + a
    assert hash(a + b) == hash(b + a)
    assert (a + b).groups == {"a", "b"}
    assert Polynomial.constant(0).terms == {}
    assert Polynomial.constant(7).is_constant
    assert Polynomial.constant(7).value({}) == 7
    assert (a * a * a).value({"a": 5}) == 125

"""Integer polynomials in the group sizes: cost formulas, attribute patches, size constraints.

A cost traced once is evaluated at any widths in well under a millisecond, so a target is found by bisection
instead of by counting again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Polynomial:
    """``terms`` maps a sorted tuple of group names (repeats are powers) to its integer coefficient."""

    terms: Mapping[Monomial, int]

    @staticmethod
    def constant(value: int) -> Polynomial:
        return Polynomial({(): value} if value else {})

    @staticmethod
    def variable(name: str) -> Polynomial:
        return Polynomial({(name,): 1})

    @staticmethod
    def sum(polynomials: Iterable[Polynomial]) -> Polynomial:
        """The sum of many, in one pass."""
        terms: dict[Monomial, int] = {}
        for polynomial in polynomials:
            for monomial, coefficient in polynomial.terms.items():
                terms[monomial] = terms.get(monomial, 0) + coefficient
        return Polynomial({monomial: c for monomial, c in terms.items() if c})

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial.sum((self, other))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return Polynomial.sum((self, other * Polynomial.constant(-1)))

    def __mul__(self, other: Polynomial) -> Polynomial:
        terms: dict[Monomial, int] = {}
        for a, ca in self.terms.items():
            for b, cb in other.terms.items():
                monomial = tuple(sorted(a + b)) if a and b else a or b
                terms[monomial] = terms.get(monomial, 0) + ca * cb
        return Polynomial({monomial: c for monomial, c in terms.items() if c})

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    @cached_property
    def groups(self) -> frozenset[str]:
        return frozenset(name for monomial in self.terms for name in monomial)

    @property
    def is_constant(self) -> bool:
        return not self.groups

    def value(self, sizes: Mapping[str, int]) -> int:
        """The exact integer at ``sizes``."""
        return sum(
            coefficient * prod(sizes[name] for name in monomial)
            for monomial, coefficient in self.terms.items()
        )

    def restricted(self, names: frozenset[str], sizes: Mapping[str, int]) -> Polynomial:
        """The polynomial in ``names`` alone, every other group held at ``sizes``."""
        terms: dict[Monomial, int] = {}
        for monomial, coefficient in self.terms.items():
            free = tuple(name for name in monomial if name in names)
            held = prod(sizes[name] for name in monomial if name not in names)
            terms[free] = terms.get(free, 0) + coefficient * held
        return Polynomial({monomial: c for monomial, c in terms.items() if c})


def exact_quotient(left: Polynomial, right: Polynomial) -> Polynomial | None:
    """``left / right`` where ``right`` is one monomial that divides every term of ``left``, else None."""
    if len(right.terms) != 1:
        return None
    (divisor, coefficient) = next(iter(right.terms.items()))
    terms: dict[tuple[str, ...], int] = {}
    for monomial, value in left.terms.items():
        rest = list(monomial)
        for name in divisor:
            if name not in rest:
                return None
            rest.remove(name)
        if value % coefficient:
            return None
        terms[tuple(rest)] = value // coefficient
    return Polynomial(terms)

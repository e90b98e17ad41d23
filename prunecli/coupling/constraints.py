"""From the numbers a trace collected to size constraints, guards and attribute patches.

An attribute that names the size of an axis is *patched* to the axis's new size. An expression that names it
becomes an equality of polynomials in the group sizes. It holds for the dense network, so a linear one is a
statement about how many units are *removed*: two groups lose units in a fixed proportion, and form a
*bundle*. Sums are made into such pairs before groups are named (:mod:`prunecli.coupling.balance`); what is
not of that kind goes to an integer solver (:mod:`prunecli.coupling.ladders`), and what that finds no smaller
sizes for is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

from prunecli.coupling.cost import Polynomial, exact_quotient
from prunecli.coupling.expressions import attributes_in, inverted, nodes_in
from prunecli.coupling.integers import Attribute, Demand, Expression, IntegerLog, Literal, Operation, SizeOf
from prunecli.coupling.ladders import Equality, join_by_ladders
from prunecli.coupling.nodes import Node
from prunecli.coupling.space import Bundle, Guard, Member, Patch

Sizes = Mapping[str, int]
AttributeKey = tuple[str, str, int | None]


@dataclass
class Solution:
    """What selection has to respect: ``frozen`` groups with reasons, ``bundles`` of the rest, ``guards``,
    ``patches``.
    """

    frozen: dict[str, str]
    bundles: tuple[Bundle, ...] = ()
    guards: tuple[Guard, ...] = ()
    patches: tuple[Patch, ...] = ()
    scaling: dict[str, str] = field(default_factory=dict)


@dataclass
class _Ratios:
    """Union-find of groups that lose units in a fixed proportion: removed(group) = ratio x removed(root)."""

    parent: dict[str, tuple[str, Fraction]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    multiples: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> tuple[str, Fraction]:
        ratio = Fraction(1)
        while name in self.parent:
            name, step = self.parent[name]
            ratio *= step
        return name, ratio

    def reduced(self, polynomial: Polynomial, sizes: Sizes) -> Polynomial:
        """The polynomial with every group written by the root it loses units with, where that is integral."""
        terms = []
        for monomial, coefficient in polynomial.terms.items():
            term = Polynomial.constant(coefficient)
            for name in monomial:
                root, ratio = self.find(name)
                whole = ratio.denominator == 1 and root != name
                term = term * (
                    Polynomial({(): sizes[name] - int(ratio) * sizes[root], (root,): int(ratio)})
                    if whole
                    else Polynomial.variable(name)
                )
            terms.append(term)
        return Polynomial.sum(terms)

    def join(self, left: str, right: str, ratio: Fraction, reason: str) -> bool:
        """removed(left) = ratio x removed(right). False if that contradicts what is known."""
        root_left, a = self.find(left)
        root_right, b = self.find(right)
        if root_left == root_right:
            return a == ratio * b
        self.parent[root_left] = (root_right, ratio * b / a)
        self.reasons.setdefault(left, reason)
        self.reasons.setdefault(right, reason)
        return True


class _Solver:
    """Restarts with more groups frozen until nothing new has to be."""

    def __init__(self, log: IntegerLog, sizes: Sizes, polynomial: Callable[[Node], Polynomial]) -> None:
        self.log = log
        self.sizes = sizes
        self.polynomial = polynomial
        self.frozen: dict[str, str] = {}
        self.changed = False

    def solve(self, frozen: Mapping[str, str]) -> Solution:
        self.frozen = dict(frozen)
        while True:
            self.changed = False
            self.ratios = _Ratios()
            self.guards: dict[Guard, None] = {}
            self.formulas: dict[AttributeKey, Polynomial] = {}
            self.hard: list[Equality] = []
            self._learn()
            if self.changed:
                continue
            bundles, unsatisfied = join_by_ladders(self._bundles(), self.hard, self.sizes)
            if not unsatisfied:
                return Solution(self.frozen, bundles, tuple(self.guards), self._patches(), self._scaling())
            self.frozen |= unsatisfied

    def _scaling(self) -> dict[str, str]:
        """Groups whose sizes scale values, directly or through an attribute."""
        result: dict[str, str] = {}
        for scaling in self.log.scalings:
            sizes = [self._size(node) for node in nodes_in(scaling.expression)]
            sizes += [
                self.formulas[a.key] for a in attributes_in(scaling.expression) if a.key in self.formulas
            ]
            for size in sizes:
                result |= dict.fromkeys(sorted(size.groups - result.keys()), scaling.reason)
        return result

    def _freeze(self, polynomial: Polynomial, reason: str) -> None:
        for name in sorted(polynomial.groups - self.frozen.keys()):
            self.frozen[name] = reason
            self.changed = True

    def _learn(self) -> None:
        for fixation in self.log.fixations:
            for key in attributes_in(fixation.expression):
                self.formulas[key.key] = Polynomial.constant(key.value)
            for node in nodes_in(fixation.expression):
                self._freeze(self._size(node), fixation.reason)
        for demand in self.log.demands:
            if isinstance(demand.expression, Attribute):
                self.formulas.setdefault(demand.expression.key, self._size(demand.node))
        for attribute, node in self._named():
            self.formulas.setdefault(attribute.key, self._size(node))
        for left, right, where in self.log.equalities:
            self._equal(self._size(left), self._size(right), f"chunks of equal size in {where}")
        while any(self._learn_inside(d, alone) for alone in (True, False) for d in self.log.demands):
            pass
        for demand in self.log.demands:
            self._demand(demand.expression, self._size(demand.node), demand.where)
        for comparison in self.log.comparisons:
            self._compare(
                comparison.left, comparison.op, comparison.right, comparison.outcome, comparison.where
            )

    def _learn_inside(self, demand: Demand, alone: bool) -> bool:
        """An attribute that is only met inside an expression follows from the size the expression names:
        ``split(self.width // 2)`` makes ``width`` twice the size of a part. Where there are several
        (``split(self.width // self.paths)``), one follows and the others keep their values.
        """
        unknown = [a for a in attributes_in(demand.expression) if a.key not in self.formulas]
        if not unknown or (len(unknown) == 1) != alone:
            return False
        size = self.ratios.reduced(self._size(demand.node), self.sizes)
        if size.is_constant and not alone:
            return False
        for attribute in unknown:
            formula = inverted(demand.expression, attribute, size, self._value)
            if formula is not None and formula.value(self.sizes) == attribute.value:
                self.formulas[attribute.key] = formula
                return True
        return False

    def _named(self) -> Iterator[tuple[Attribute, Node]]:
        """Attributes that forward found to be the size of an axis: they follow it."""
        for comparison in self.log.comparisons:
            if comparison.op in ("==", "!=") and (comparison.op == "==") == comparison.outcome:
                pair = comparison.left, comparison.right
                for attribute, size in (pair, pair[::-1]):
                    if isinstance(attribute, Attribute) and isinstance(size, SizeOf):
                        yield attribute, size.node

    def _size(self, node: Node) -> Polynomial:
        polynomial = self.polynomial(node)
        if polynomial.groups & self.frozen.keys():
            return polynomial.restricted(frozenset(self.sizes) - self.frozen.keys(), self.sizes)
        return polynomial

    def _value(self, expression: Expression) -> Polynomial | None:
        """The expression as a polynomial, or None where it is not one."""
        if isinstance(expression, Literal):
            return Polynomial.constant(expression.value)
        if isinstance(expression, Attribute):
            return self.formulas.get(expression.key, Polynomial.constant(expression.value))
        if isinstance(expression, SizeOf):
            return self._size(expression.node)
        left, right = self._value(expression.left), self._value(expression.right)
        if left is None or right is None:
            return None
        if left.is_constant and right.is_constant:
            return Polynomial.constant(expression.value)
        if expression.op in "+-*":
            return {"+": left + right, "-": left - right, "*": left * right}[expression.op]
        return exact_quotient(left, right) if expression.op == "//" else None

    def _demand(self, expression: Expression, size: Polynomial, where: str) -> None:
        names = ", ".join(dict.fromkeys(attribute.name for attribute in attributes_in(expression)))
        reason = f"its size is tied to {names or 'that of another axis'} in {where}"
        value = self._value(expression)
        if value is not None:
            self._equal(value, size, reason)
            return
        if isinstance(expression, Operation) and expression.op == "//":
            left, right = self._value(expression.left), self._value(expression.right)
            if left is not None and right is not None and self._holds(left, right * size):
                self._equal(left, right * size, reason)
                return
        self._freeze_expression(expression, size, reason)

    def _freeze_expression(self, expression: Expression, size: Polynomial, reason: str) -> None:
        self._freeze(size, reason)
        for node in nodes_in(expression):
            self._freeze(self._size(node), reason)
        for attribute in attributes_in(expression):
            self._freeze(self.formulas.get(attribute.key, Polynomial({})), reason)

    def _holds(self, left: Polynomial, right: Polynomial) -> bool:
        return left.value(self.sizes) == right.value(self.sizes)

    def _equal(self, left: Polynomial, right: Polynomial, reason: str) -> None:
        """State ``left == right``: as a proportion of two groups if it can be, else for the solver."""
        difference = _without_common_factor(self.ratios.reduced(left - right, self.sizes))
        if not difference.terms:
            return
        if len(difference.groups) == 1:
            self._freeze(difference, reason)
            return
        pairs = _proportions(difference, self.sizes)
        if pairs is None or not all(self.ratios.join(a, b, ratio, reason) for a, b, ratio in pairs):
            self.hard.append(Equality(difference, reason))

    def _compare(self, left: Expression, op: str, right: Expression, outcome: bool, where: str) -> None:
        if isinstance(left, Operation) and left.op == "%" and right == Literal(0):
            self._divisible(left, (op == "==") == outcome, where)
            return
        a, b = self._value(left), self._value(right)
        if a is None or b is None:
            self._freeze_expression(left, Polynomial({}), f"a comparison in {where} depends on its size")
            self._freeze_expression(right, Polynomial({}), f"a comparison in {where} depends on its size")
        elif not (a.is_constant and b.is_constant):
            negated = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
            held = op if outcome else negated[op]
            if held == "==":
                self._equal(a, b, f"its size is compared in {where}")
            else:
                self.guards[Guard(a, held, b, where)] = None

    def _divisible(self, modulo: Operation, divides: bool, where: str) -> None:
        a, b = self._value(modulo.left), self._value(modulo.right)
        reason = f"a comparison in {where} depends on its size"
        if a is None or b is None or not divides:
            self._freeze_expression(modulo, Polynomial({}), reason)
        elif b.is_constant and len(a.terms) == 1 and len(next(iter(a.terms))) == 1:
            ((name,), coefficient) = next(iter(a.terms.items()))
            divisor = b.value({})
            needed = divisor // gcd(divisor, coefficient)
            self.ratios.multiples[name] = lcm(needed, self.ratios.multiples.get(name, 1))
        elif not (a.is_constant and b.is_constant) and exact_quotient(a, b) is None:
            self.guards[Guard(a, "%0", b, where)] = None

    def _bundles(self) -> tuple[Bundle, ...]:
        families: dict[str, dict[str, Fraction]] = {}
        for name in self.sizes:
            if name not in self.frozen:
                root, ratio = self.ratios.find(name)
                families.setdefault(root, {})[name] = ratio
        return tuple(self._bundle(family) for family in families.values())

    def _bundle(self, family: Mapping[str, Fraction]) -> Bundle:
        scale = Fraction(1)
        denominator = lcm(*(ratio.denominator for ratio in family.values()))
        strides = {name: int(ratio * denominator) for name, ratio in family.items()}
        common = gcd(*strides.values())
        strides = {name: stride // common for name, stride in strides.items()}
        needed = lcm(*(m // gcd(m, strides[n]) for n, m in self.ratios.multiples.items() if n in strides), 1)
        scale *= needed
        members = tuple(Member(name, int(stride * scale)) for name, stride in strides.items())
        reason = next((self.ratios.reasons[name] for name in family if name in self.ratios.reasons), None)
        return Bundle(members, reason if len(members) > 1 or needed > 1 else None)

    def _patches(self) -> tuple[Patch, ...]:
        return tuple(
            Patch(*key, formula) for key, formula in self.formulas.items() if not formula.is_constant
        )


def solve(
    log: IntegerLog, sizes: Sizes, polynomial: Callable[[Node], Polynomial], frozen: Mapping[str, str]
) -> Solution:
    """Constraints of one trace. ``polynomial`` gives the size of an axis in the group sizes; ``frozen``
    groups are constants.
    """
    return _Solver(log, sizes, polynomial).solve(frozen)


def _without_common_factor(polynomial: Polynomial) -> Polynomial:
    """Divide by the sizes that stand in every term: they are never zero."""
    if not polynomial.terms:
        return polynomial
    common = list(next(iter(polynomial.terms)))
    for monomial in polynomial.terms:
        rest = list(monomial)
        shared = []
        for name in common:
            if name in rest:
                rest.remove(name)
                shared.append(name)
        common = shared
    divided = exact_quotient(polynomial, Polynomial({tuple(common): 1}))
    return polynomial if divided is None else divided


def _proportions(difference: Polynomial, sizes: Sizes) -> list[tuple[str, str, Fraction]] | None:
    """``difference == 0`` as proportions ``removed(a) = ratio * removed(b)``, or None where it is not of
    that kind.
    """
    linear = {monomial[0]: c for monomial, c in difference.terms.items() if len(monomial) == 1}
    if len(linear) != len(difference.terms) - (() in difference.terms):
        return None
    plus = [(name, c) for name, c in linear.items() if c > 0]
    minus = [(name, -c) for name, c in linear.items() if c < 0]
    if len(plus) == len(minus) == 1:
        return [(plus[0][0], minus[0][0], Fraction(minus[0][1], plus[0][1]))]
    pairs: list[tuple[str, str, Fraction]] = []
    for name, coefficient in plus:
        partner = next((p for p in minus if p[1] * sizes[p[0]] == coefficient * sizes[name]), None)
        if partner is None:
            return None
        minus.remove(partner)
        pairs.append((name, partner[0], Fraction(partner[1], coefficient)))
    return None if minus else pairs

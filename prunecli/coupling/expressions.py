"""Expressions of traced numbers, read and turned around."""

from __future__ import annotations

from collections.abc import Callable

from prunecli.coupling.cost import Polynomial, exact_quotient
from prunecli.coupling.integers import Attribute, Expression, Operation, SizeOf
from prunecli.coupling.nodes import Node


def nodes_in(expression: Expression) -> list[Node]:
    """The axes whose sizes an expression speaks of."""
    if isinstance(expression, SizeOf):
        return [expression.node]
    if isinstance(expression, Operation):
        return nodes_in(expression.left) + nodes_in(expression.right)
    return []


def attributes_in(expression: Expression) -> list[Attribute]:
    """The module attributes an expression was computed from."""
    if isinstance(expression, Attribute):
        return [expression]
    if isinstance(expression, Operation):
        return attributes_in(expression.left) + attributes_in(expression.right)
    return []


def inverted(
    expression: Expression,
    unknown: Attribute,
    size: Polynomial,
    value: Callable[[Expression], Polynomial | None],
) -> Polynomial | None:
    """What ``unknown`` has to be for ``expression`` to be ``size``, or None where that is not plain.

    ``value`` gives the rest of the expression as a polynomial. A floor division is turned around as if it
    were exact, so the result is to be checked against the attribute's present value.
    """
    if isinstance(expression, Attribute):
        return size
    if not isinstance(expression, Operation):
        return None
    on_left = unknown in attributes_in(expression.left)
    inner, other = expression.left, expression.right
    if not on_left:
        inner, other = other, inner
    known = value(other)
    if known is None:
        return None
    needed: Polynomial | None = None
    if expression.op == "+":
        needed = size - known
    elif expression.op == "-":
        needed = size + known if on_left else known - size
    elif expression.op == "*":
        needed = exact_quotient(size, known)
    elif expression.op == "//" and on_left:
        needed = size * known
    return None if needed is None else inverted(inner, unknown, needed, value)

"""Equalities of sums made into equalities of pairs, by splitting atoms before groups are named."""

from __future__ import annotations

from prunecli.coupling.algebra import Algebra
from prunecli.coupling.integers import IntegerLog
from prunecli.coupling.nodes import Atom, Cat, Node, leaves, normal


def balance(log: IntegerLog, algebra: Algebra) -> None:
    """Split atoms until every stated equality of sizes is one of pairs of equally large atoms.

    ``7 + 6 + 1 == 14`` (the halves of a shuffled concatenation) becomes ``7 == 7``, ``6 == 6`` and one index
    that stays, so both halves can lose units together. Equalities that are not linear in their atoms are
    left to :func:`prunecli.coupling.constraints.solve`.
    """
    for _ in range(len(log.equalities) + 1):
        changed = [_balance(algebra, left, right) for left, right, _ in log.equalities]
        if not any(changed):
            return


def _balance(algebra: Algebra, left: Node, right: Node) -> bool:
    counts: dict[Atom, int] = {}
    for node, sign in ((left, 1), (right, -1)):
        linear = _linear(node)
        if linear is None:
            return False
        for atom, coefficient in linear:
            counts[atom] = counts.get(atom, 0) + sign * coefficient
    if sorted(count > 0 for count in counts.values() if count) == [False, True]:
        return False  # one on each side: a proportion already
    changed = False
    for coefficient in sorted({abs(c) for c in counts.values() if c}):
        plus = [atom for atom, c in counts.items() if c == coefficient]
        minus = [atom for atom, c in counts.items() if c == -coefficient]
        if len(plus) != 1 or len(minus) != 1 or plus[0].size != minus[0].size:
            changed |= _align(algebra, plus, minus)
    return changed


def _align(algebra: Algebra, plus: list[Atom], minus: list[Atom]) -> bool:
    """Pair equal sizes, then split the larger of two unequal atoms; what has no partner stays whole."""
    rest = list(minus)
    unpaired = []
    for atom in plus:
        partner = next((other for other in rest if other.size == atom.size), None)
        if partner is None:
            unpaired.append(atom)
        else:
            rest.remove(partner)
    if unpaired and rest:
        first, second = unpaired[0], rest[0]
        larger, size = (first, second.size) if first.size > second.size else (second, first.size)
        algebra.split(larger, size)
        return True
    for atom in (*unpaired, *rest):
        algebra.pin(atom, "it has no counterpart in the other of two chunks of equal size")
    return bool(unpaired or rest)


def _linear(node: Node) -> list[tuple[Atom, int]] | None:
    """The size of ``node`` as a sum of coefficient x atom over its unpinned atoms, or None."""
    node = normal(node)
    if isinstance(node, Atom):
        return [] if node.pinned is not None else [(node, 1)]
    if isinstance(node, Cat):
        parts = [_linear(child) for child in node.children]
        return (
            None if any(part is None for part in parts) else [term for part in parts for term in part or ()]
        )
    free = [child for child in node.children if any(atom.pinned is None for atom in leaves(child))]
    inner = _linear(free[0]) if len(free) == 1 else None
    return None if inner is None else [(atom, c * (node.size // free[0].size)) for atom, c in inner]

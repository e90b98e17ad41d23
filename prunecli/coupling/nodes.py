"""What an axis is made of while a network is being traced.

An axis is an :class:`Atom`, a :class:`Prod` of axes (a reshape merged or split dimensions; outermost first)
or a :class:`Cat` of axes (concatenation, split, slices).

An atom can come to be something else (``bound``) when the algebra learns more, so every question is asked of
the :func:`normal` form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TypeAlias


class Atom:
    """An indivisible axis of ``size`` indices, until something splits it (``bound``).

    ``pinned`` is the reason why no index may be removed, or None. ``marks`` are facts that follow the indices
    wherever the atom is refined, such as ``value-changing``.
    """

    __slots__ = ("bound", "marks", "pinned", "size")

    def __init__(self, size: int, pinned: str | None = None) -> None:
        self.size = size
        self.pinned = pinned
        self.bound: Node | None = None
        self.marks: dict[str, str] | None = None


class Prod:
    """Merged dimensions, outermost first."""

    __slots__ = ("children", "size")
    size: int

    def __init__(self, children: tuple[Node, ...]) -> None:
        self.children = children
        self.size = prod(child.size for child in children)


class Cat:
    """Parts laid end to end."""

    __slots__ = ("children", "size")
    size: int

    def __init__(self, children: tuple[Node, ...]) -> None:
        self.children = children
        self.size = sum(child.size for child in children)


Node: TypeAlias = Atom | Prod | Cat


def fixed(size: int, reason: str) -> Atom:
    """An axis that keeps all its indices."""
    return Atom(size, reason)


TRIVIAL = frozenset({"kernel size", "a single index", "empty"})
"""Reasons for pinning that nobody needs to be told."""

ONE = fixed(1, "a single index")


def fresh(size: int) -> Atom:
    """A new axis nothing is known about. A single index can never be removed."""
    return Atom(size) if size > 1 else ONE if size == 1 else fixed(size, "empty")


def product(nodes: Iterable[Node]) -> Node:
    """The normal form of a product of ``nodes``."""
    flat: list[Node] = []
    for node in nodes:
        resolved = normal(node)
        for factor in resolved.children if isinstance(resolved, Prod) else (resolved,):
            if factor.size == 1:
                continue
            last = flat[-1] if flat else None
            if is_pinned(factor) and isinstance(factor, Atom) and isinstance(last, Atom) and last.pinned:
                flat[-1] = fixed(last.size * factor.size, last.pinned)
            else:
                flat.append(factor)
    return Prod(tuple(flat)) if len(flat) > 1 else flat[0] if flat else ONE


def concat(nodes: Iterable[Node]) -> Node:
    """The normal form of ``nodes`` laid end to end."""
    flat: list[Node] = []
    for node in nodes:
        resolved = normal(node)
        for part in resolved.children if isinstance(resolved, Cat) else (resolved,):
            if part.size == 0:
                continue
            last = flat[-1] if flat else None
            if isinstance(part, Atom) and part.pinned and isinstance(last, Atom) and last.pinned:
                flat[-1] = fixed(last.size + part.size, last.pinned if last.size > 1 else part.pinned)
            else:
                flat.append(part)
    return Cat(tuple(flat)) if len(flat) > 1 else flat[0] if flat else fixed(0, "empty")


def normal(node: Node) -> Node:
    """``node`` with all that is known by now: flat, adjacent pinned pieces merged, bindings followed."""
    if isinstance(node, Atom):
        if node.bound is None:
            return node
        node.bound = normal(node.bound)
        return node.bound
    if _is_normal(node):
        return node
    return product(node.children) if isinstance(node, Prod) else concat(node.children)


def _is_normal(node: Prod | Cat) -> bool:
    was_pinned = False
    for child in node.children:
        if isinstance(child, Atom):
            if child.bound is not None or (was_pinned and child.pinned):
                return False
            was_pinned = child.pinned is not None
        elif type(child) is type(node) or not _is_normal(child):
            return False
        else:
            was_pinned = False
    return True


def is_pinned(node: Node) -> bool:
    """Whether every index of ``node`` stays."""
    node = normal(node)
    return isinstance(node, Atom) and node.pinned is not None


def leaves(node: Node) -> Iterator[Atom]:
    """The atoms of ``node``'s normal form, in order, with repeats."""
    node = normal(node)
    if isinstance(node, Atom):
        yield node
    else:
        for child in node.children:
            yield from leaves(child)

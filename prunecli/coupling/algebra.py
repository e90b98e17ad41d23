"""The axis algebra while a network is being traced: union-find with structure.

Every dimension of every traced tensor carries an *axis* (:mod:`prunecli.coupling.nodes`). Saying that two
axes are the same (:meth:`Algebra.unify`) finds their common refinement, splitting atoms on the way; where
none exists both are *pinned*: they keep all their indices, which costs compression and never correctness.

The result is read off as the immutable expressions of :mod:`prunecli.coupling.axes`.
"""

from __future__ import annotations

from collections.abc import Sequence

from prunecli.coupling.nodes import ONE, Atom, Cat, Node, Prod, concat, fixed, fresh, leaves, normal, product

_DEEPEST = 200


class Algebra:
    """The operations that learn something: unify, pin, mark, split, factor, reshape."""

    def __init__(self) -> None:
        self._depth = 0

    def pin(self, node: Node, reason: str) -> None:
        """Keep every index of ``node``."""
        for atom in leaves(node):
            if atom.pinned is None:
                atom.pinned = reason

    def mark(self, node: Node, mark: str, reason: str) -> None:
        """Attach a fact to every atom of ``node``; the first reason given for a mark stays."""
        for atom in leaves(node):
            if atom.pinned is None:
                if atom.marks is None:
                    atom.marks = {}
                atom.marks.setdefault(mark, reason)

    def bind(self, atom: Atom, node: Node) -> None:
        """From now on ``atom`` is ``node``; what was known of the atom holds for all of it."""
        atom.bound = node
        if atom.pinned is not None:
            self.pin(node, atom.pinned)
        for mark, reason in (atom.marks or {}).items():
            self.mark(node, mark, reason)

    def unify(self, left: Node, right: Node) -> None:
        """State that ``left`` and ``right`` are the same axis."""
        left, right = normal(left), normal(right)
        if left is right:
            return
        if left.size != right.size:
            self._give_up(
                left, right, f"axes of {left.size} and {right.size} indices were said to be the same"
            )
        elif isinstance(left, Atom) and left.pinned is not None:
            self.pin(right, left.pinned)
        elif isinstance(right, Atom) and right.pinned is not None:
            self.pin(left, right.pinned)
        elif isinstance(left, Atom):
            self.bind(left, right)
        elif isinstance(right, Atom):
            self.bind(right, left)
        else:
            self._refine(left, right)

    def _refine(self, left: Prod | Cat, right: Prod | Cat) -> None:
        if self._depth > _DEEPEST:
            self._give_up(left, right, "no common refinement was found")
            return
        self._depth += 1
        try:
            if isinstance(left, Cat) and isinstance(right, Cat):
                self._unify_concats(left, right)
            elif isinstance(left, Prod) and isinstance(right, Prod):
                self._unify_products(left, right)
            elif isinstance(left, Prod):
                self._unify_mixed(left, right)
            elif isinstance(right, Prod):
                self._unify_mixed(right, left)
        finally:
            self._depth -= 1

    def _give_up(self, left: Node, right: Node, reason: str) -> None:
        self.pin(left, reason)
        self.pin(right, reason)

    def _unify_concats(self, left: Node, right: Node) -> None:
        while True:
            left, right = normal(left), normal(right)
            if not (isinstance(left, Cat) and isinstance(right, Cat)):
                self.unify(left, right)
                return
            size = min(left.children[0].size, right.children[0].size)
            head_left, left = self.split(left, size)
            head_right, right = self.split(right, size)
            self.unify(head_left, head_right)

    def _unify_products(self, left: Node, right: Node) -> None:
        while True:
            left, right = normal(left), normal(right)
            if not (isinstance(left, Prod) and isinstance(right, Prod)):
                self.unify(left, right)
                return
            size = min(left.children[0].size, right.children[0].size)
            pair_left, pair_right = self.factor(left, size), self.factor(right, size)
            if pair_left is None or pair_right is None:
                self._give_up(left, right, "two reshapes of it have no common refinement")
                return
            self.unify(pair_left[0], pair_right[0])
            left, right = pair_left[1], pair_right[1]

    def _unify_mixed(self, merged: Prod, parts: Node) -> None:
        pair = self.factor(parts, merged.children[0].size)
        if pair is None:
            self._give_up(merged, parts, "a reshape and a concatenation of it have no common refinement")
            return
        own = self.factor(merged, pair[0].size)
        if own is None:
            self._give_up(merged, parts, "a reshape and a concatenation of it have no common refinement")
            return
        self.unify(own[0], pair[0])
        self.unify(own[1], pair[1])

    def factor(self, node: Node, outer: int) -> tuple[Node, Node] | None:
        """``node`` as a product of an axis of ``outer`` indices and the rest; None if its structure forbids
        it.
        """
        node = normal(node)
        if node.size % outer:
            return None
        inner = node.size // outer
        if outer == 1:
            return ONE, node
        if inner == 1:
            return node, ONE
        if isinstance(node, Atom):
            pieces = (
                (fixed(outer, node.pinned), fixed(inner, node.pinned))
                if node.pinned is not None
                else (fresh(outer), fresh(inner))
            )
            self.bind(node, Prod(pieces))
            return pieces
        if isinstance(node, Prod):
            return self._factor_product(node, outer)
        return self._factor_concat(node, outer, inner)

    def _factor_product(self, node: Prod, outer: int) -> tuple[Node, Node] | None:
        taken: list[Node] = []
        rest = list(node.children)
        while outer > 1:
            head = normal(rest[0])
            if outer % head.size == 0:
                taken.append(rest.pop(0))
                outer //= head.size
                continue
            pair = self.factor(head, outer) if head.size > outer else None
            if pair is None:
                return None
            taken.append(pair[0])
            rest[0] = pair[1]
            outer = 1
        return product(taken), product(rest)

    def _factor_concat(self, node: Cat, outer: int, inner: int) -> tuple[Node, Node] | None:
        if all(part.size % inner == 0 for part in node.children):
            pairs = [self.factor(part, part.size // inner) for part in node.children]
            if all(pair is not None for pair in pairs):
                found = [pair for pair in pairs if pair is not None]
                for pair in found[1:]:
                    self.unify(found[0][1], pair[1])
                return concat(pair[0] for pair in found), found[0][1]
        pieces = self.split_all(node, [inner] * outer)
        for piece in pieces[1:]:
            self.unify(pieces[0], piece)
        return fixed(outer, "a concatenation is read as equal pieces; their number stays"), normal(pieces[0])

    def split(self, node: Node, first: int) -> tuple[Node, Node]:
        """``node`` cut after its ``first`` indices."""
        node = normal(node)
        if first <= 0:
            return fixed(0, "empty"), node
        if first >= node.size:
            return node, fixed(0, "empty")
        if isinstance(node, Atom):
            sizes = (first, node.size - first)
            pieces = tuple(fixed(s, node.pinned) if node.pinned else fresh(s) for s in sizes)
            self.bind(node, Cat(pieces))
            return pieces[0], pieces[1]
        if isinstance(node, Cat):
            return self._split_concat(node, first)
        return self._split_product(node, first)

    def _split_concat(self, node: Cat, first: int) -> tuple[Node, Node]:
        before: list[Node] = []
        rest = list(node.children)
        while first >= rest[0].size:
            first -= rest[0].size
            before.append(rest.pop(0))
        if first:
            head, tail = self.split(rest[0], first)
            before.append(head)
            rest[0] = tail
        return concat(before), concat(rest)

    def _split_product(self, node: Prod, first: int) -> tuple[Node, Node]:
        outer, inner = node.children[0], product(node.children[1:])
        whole, within = divmod(first, inner.size)
        before, rest = self.split(outer, whole)
        left = product((before, inner)) if whole else fixed(0, "empty")
        if not within:
            return left, product((rest, inner))
        # The cut runs through one unit of the outer factor: that unit stays, the inner factor is cut in it.
        unit, after = self.split(rest, 1)
        self.pin(unit, "a split runs through it")
        head, tail = self.split(inner, within)
        inner = normal(inner)
        left = product((before, inner)) if whole else fixed(0, "empty")
        right = product((after, inner)) if after.size else fixed(0, "empty")
        return concat((left, head)), concat((tail, right))

    def split_all(self, node: Node, sizes: Sequence[int]) -> list[Node]:
        """``node`` cut into consecutive pieces of ``sizes``."""
        pieces: list[Node] = []
        for size in sizes[:-1]:
            head, node = self.split(node, size)
            pieces.append(head)
        pieces.append(node)
        return [normal(piece) for piece in pieces]

    def reshape(self, nodes: Sequence[Node], shape: Sequence[int]) -> list[Node]:
        """The axes of a row-major view of ``nodes`` as ``shape``."""
        result: list[Node] = []
        source = [normal(node) for node in nodes if node.size != 1]
        target = list(shape)
        while target:
            if target[0] == 1:
                result.append(ONE)
                target.pop(0)
                continue
            counts = _segment([node.size for node in source], target)
            if counts is None:
                return [*result, *self._reshape_nothing(source, target)]
            count_in, count_out = counts
            result += self._reshape_segment(source[:count_in], target[:count_out])
            del source[:count_in], target[:count_out]
        return [*result, *self._reshape_nothing(source, [])] if source else result

    def _reshape_nothing(self, nodes: Sequence[Node], shape: Sequence[int]) -> list[Node]:
        """Without elements (a detector that found no box) any shape goes over into any other."""
        reason = f"it is reshaped to {list(shape)} while it holds nothing"
        for node in nodes:
            self.pin(node, reason)
        return [fixed(size, reason) for size in shape]

    def _reshape_segment(self, nodes: list[Node], shape: list[int]) -> list[Node]:
        rest = product(nodes)
        result: list[Node] = []
        for size in shape[:-1]:
            pair = self.factor(rest, size)
            if pair is None:
                reason = f"a reshape to {shape} cuts across its structure"
                for node in (*result, rest, *nodes):
                    self.pin(node, reason)
                return [fixed(size, reason) for size in shape]
            result.append(pair[0])
            rest = pair[1]
        return [*result, rest]


def _segment(source: Sequence[int], target: Sequence[int]) -> tuple[int, int] | None:
    """The fewest leading dimensions of both shapes with the same number of elements; None where there are
    none such, which can be only if one of them is 0.
    """
    if not source:
        return None
    count_in = count_out = 1
    size_in, size_out = source[0], target[0]
    while size_in != size_out:
        if count_in >= len(source) if size_in < size_out else count_out >= len(target):
            return None
        if size_in < size_out:
            size_in *= source[count_in]
            count_in += 1
        else:
            size_out *= target[count_out]
            count_out += 1
    while count_out < len(target) and target[count_out] == 1:
        count_out += 1
    return count_in, count_out

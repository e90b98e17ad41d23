"""Integer provenance: where the numbers in ``forward`` come from.

While a network is traced, integer attributes of its modules and the sizes of its tensors are
:class:`TracedInt` - ordinary integers that remember the expression they were computed by. When such a number
is used as the size of an axis, the two are paired (:meth:`IntegerLog.demand`); when it is compared, the
comparison is remembered (:meth:`IntegerLog.compare`); when it only scales values (``head_size ** -0.5``),
removing indices changes values (:meth:`IntegerLog.scales`); when it goes somewhere that cannot be followed
(a division, an unknown function), everything it depends on must keep its value (:meth:`IntegerLog.fix`).

One thing Python does not show: a float on the left (``0.5 * n``) multiplies an ``int`` subclass without
asking it. Such a scale is noticed only by the masked oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from prunecli.coupling.nodes import Node


@dataclass(frozen=True)
class Literal:
    """A number that is the same for every width."""

    value: int


@dataclass(frozen=True, eq=False)
class SizeOf:
    """The number of indices of a traced axis."""

    node: Node


@dataclass(frozen=True)
class Attribute:
    """``module.name``, or one ``index`` of it where it is a tuple or a list; ``value`` when traced."""

    module: str
    name: str
    index: int | None
    value: int

    @property
    def key(self) -> tuple[str, str, int | None]:
        return self.module, self.name, self.index


@dataclass(frozen=True, eq=False)
class Operation:
    """``left op right`` with op one of ``+ - * // %``."""

    op: str
    left: Expression
    right: Expression
    value: int


Expression: TypeAlias = Literal | SizeOf | Attribute | Operation


@dataclass(frozen=True, eq=False)
class Demand:
    """``expression`` was used in ``where`` as the size of ``node``."""

    expression: Expression
    node: Node
    where: str


@dataclass(frozen=True, eq=False)
class Comparison:
    """``left op right`` was asked in ``where`` and was ``outcome``."""

    left: Expression
    op: str
    right: Expression
    outcome: bool
    where: str


@dataclass(frozen=True, eq=False)
class Fixation:
    """``expression`` must keep its value, for ``reason``."""

    expression: Expression
    reason: str


class IntegerLog:
    """What was learnt of the numbers in one trace."""

    def __init__(self, where: Callable[[], str]) -> None:
        self.demands: list[Demand] = []
        self.comparisons: list[Comparison] = []
        self.fixations: list[Fixation] = []
        self.equalities: list[tuple[Node, Node, str]] = []
        self.scalings: list[Fixation] = []
        self._where = where

    def attribute(self, module: str, name: str, index: int | None, value: int) -> TracedInt:
        return TracedInt(value, Attribute(module, name, index, value), self)

    def size(self, node: Node) -> TracedInt:
        return TracedInt(node.size, SizeOf(node), self)

    def demand(self, number: TracedInt, node: Node) -> None:
        self.demands.append(Demand(number.expression, node, self._where()))

    def same_size(self, left: Node, right: Node) -> None:
        """Two axes must have equally many indices, not the same ones (``chunk``)."""
        self.equalities.append((left, right, self._where()))

    def compare(self, left: TracedInt, op: str, right: int, outcome: bool) -> None:
        self.comparisons.append(Comparison(left.expression, op, expression_of(right), outcome, self._where()))

    def scales(self, number: TracedInt) -> None:
        """The number became a float that no size can be made of: it scales values."""
        self.scalings.append(Fixation(number.expression, f"its size scales values in {self._where()}"))

    def fix(self, number: TracedInt, use: str) -> None:
        where = self._where()
        reason = f"its size is used {use}" + (f" in {where}" if where else "")
        self.fixations.append(Fixation(number.expression, reason))


def expression_of(number: int) -> Expression:
    """The expression of a traced number, or the number itself as a literal."""
    return number.expression if isinstance(number, TracedInt) else Literal(int(number))


class TracedInt(int):
    """An ``int`` that carries the expression it was computed by."""

    expression: Expression
    log: IntegerLog

    def __new__(cls, value: int, expression: Expression, log: IntegerLog) -> TracedInt:
        self = super().__new__(cls, value)
        self.expression = expression
        self.log = log
        return self

    def _combine(self, op: str, left: int, right: Any, compute: Callable[[int, int], int]) -> Any:
        if isinstance(right, bool) or not isinstance(right, int) or not isinstance(left, int):
            self.log.fix(self, "in float arithmetic")
            return NotImplemented
        value = compute(int(left), int(right))
        return TracedInt(value, Operation(op, expression_of(left), expression_of(right), value), self.log)

    def __add__(self, other: Any) -> Any:
        return self._combine("+", self, other, int.__add__)

    def __radd__(self, other: Any) -> Any:
        return self._combine("+", other, self, int.__add__) if isinstance(other, int) else self._as_float()

    def __sub__(self, other: Any) -> Any:
        return self._combine("-", self, other, int.__sub__)

    def __rsub__(self, other: Any) -> Any:
        return self._combine("-", other, self, int.__sub__) if isinstance(other, int) else self._as_float()

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, (list, tuple, str)):
            self.log.fix(self, "to repeat a sequence")
            return NotImplemented
        return self._combine("*", self, other, int.__mul__)

    def __rmul__(self, other: Any) -> Any:
        return self._combine("*", other, self, int.__mul__) if isinstance(other, int) else self._as_float()

    def __floordiv__(self, other: Any) -> Any:
        return self._combine("//", self, other, int.__floordiv__)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._combine("//", other, self, int.__floordiv__)

    def __mod__(self, other: Any) -> Any:
        return self._combine("%", self, other, int.__mod__)

    def __rmod__(self, other: Any) -> Any:
        return self._combine("%", other, self, int.__mod__)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __neg__(self) -> Any:
        return self._combine("-", 0, self, int.__sub__)

    def _as_float(self) -> Any:
        self.log.fix(self, "in float arithmetic")
        return NotImplemented

    def __truediv__(self, other: Any) -> Any:
        self.log.fix(self, "in a division")
        return int.__truediv__(int(self), other)

    def __rtruediv__(self, other: Any) -> Any:
        self.log.fix(self, "in a division")
        return int.__rtruediv__(int(self), other)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if not isinstance(other, (int, float)):
            self.log.fix(self, "as the base of a tensor's power")
            return NotImplemented
        if isinstance(other, float) or other < 0:
            self.log.scales(self)
        else:
            self.log.fix(self, "in a power")
        return pow(int(self), other, modulus)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        self.log.fix(self, "in a power")
        return pow(other, int(self), modulus)

    def __float__(self) -> float:
        self.log.scales(self)
        return int.__float__(self)

    def __eq__(self, other: object) -> Any:
        return self._compare("==", other, int.__eq__)

    def __ne__(self, other: object) -> Any:
        return self._compare("!=", other, int.__ne__)

    def __lt__(self, other: Any) -> Any:
        return self._compare("<", other, int.__lt__)

    def __le__(self, other: Any) -> Any:
        return self._compare("<=", other, int.__le__)

    def __gt__(self, other: Any) -> Any:
        return self._compare(">", other, int.__gt__)

    def __ge__(self, other: Any) -> Any:
        return self._compare(">=", other, int.__ge__)

    def _compare(self, op: str, other: Any, ask: Callable[[int, Any], Any]) -> Any:
        outcome = ask(self, other)
        if outcome is NotImplemented:
            return NotImplemented
        self.log.compare(self, op, other, outcome)
        return bool(outcome)

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)

    def __deepcopy__(self, memo: Any) -> TracedInt:
        return self

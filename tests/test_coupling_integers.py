"""Traced numbers: they are the integers they stand for, and remember how they were made."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunecli.coupling.integers import (
    Attribute,
    Expression,
    IntegerLog,
    Literal,
    Operation,
    SizeOf,
    TracedInt,
    expression_of,
)
from prunecli.coupling.nodes import fresh


@pytest.fixture
def log() -> IntegerLog:
    return IntegerLog(lambda: "layer")


def value(expression: Expression) -> int:
    """The expression worked out again from its leaves."""
    if isinstance(expression, Operation):
        a, b = value(expression.left), value(expression.right)
        return {"+": a + b, "-": a - b, "*": a * b, "//": a // b if b else 0, "%": a % b if b else 0}[
            expression.op
        ]
    return expression.node.size if isinstance(expression, SizeOf) else expression.value


STEPS = st.lists(st.tuples(st.sampled_from("+-*/%rn"), st.integers(1, 9)), max_size=6)


@settings(max_examples=100)
@given(STEPS)
def test_arithmetic_is_that_of_integers_and_is_remembered(steps: list[tuple[str, int]]) -> None:
    log = IntegerLog(lambda: "layer")
    number, plain = log.size(fresh(12)), 12
    functions: dict[str, Callable[[int, int], int]] = {
        "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: b * a, "/": lambda a, b: a // b,
        "%": lambda a, b: a % b, "r": lambda a, b: b - a, "n": lambda a, b: -a,
    }  # fmt: skip
    for name, operand in steps:
        number, plain = functions[name](number, operand), functions[name](plain, operand)
    assert type(number) is TracedInt
    assert int.__eq__(number, plain)
    assert value(number.expression) == plain
    assert not log.fixations and not log.comparisons


def test_two_traced_numbers_combine(log: IntegerLog) -> None:
    node = fresh(12)
    heads = log.attribute("block", "num_heads", None, 3)
    quotient = log.size(node) // heads
    assert quotient.expression == Operation("//", SizeOf(node), heads.expression, 4) or (
        isinstance(quotient.expression, Operation) and quotient.expression.op == "//"
    )
    assert isinstance(quotient.expression.left, SizeOf) and quotient.expression.left.node is node
    assert quotient.expression.right is heads.expression
    whole, rest = divmod(log.size(node), heads)
    assert (int(whole), int(rest)) == (4, 0)
    assert isinstance(whole, TracedInt) and isinstance(rest, TracedInt)


def test_comparisons_answer_and_are_kept(log: IntegerLog) -> None:
    number = log.attribute("block", "width", None, 8)
    assert number > 4
    assert (number != 8) is False
    assert [(c.op, c.outcome, c.where) for c in log.comparisons] == [
        (">", True, "layer"),
        ("!=", False, "layer"),
    ]
    assert log.comparisons[0].right == Literal(4)
    assert number != "eight"
    assert len(log.comparisons) == 2


@pytest.mark.parametrize(
    ("use", "answer", "reason"),
    [
        (lambda n: n / 2, 4.0, "in a division"),
        (lambda n: 16 / n, 2.0, "in a division"),
        (lambda n: n**2, 64, "in a power"),
        (lambda n: 2**n, 256, "in a power"),
        (lambda n: n * 0.5, 4.0, "in float arithmetic"),
        (lambda n: n - 0.5, 7.5, "in float arithmetic"),
        (lambda n: [0] * n, [0] * 8, "its size is used"),
        (lambda n: n * [0], [0] * 8, "to repeat a sequence"),
    ],
)
def test_what_cannot_be_followed_fixes_the_number(
    log: IntegerLog, use: Callable[[int], object], answer: object, reason: str
) -> None:
    number = log.attribute("block", "width", None, 8)
    assert use(number) == answer
    assert reason in log.fixations[0].reason


@pytest.mark.parametrize("use", [lambda n: n**-0.5, lambda n: n**-1, lambda n: float(n)])
def test_a_float_that_only_scales_values_marks_the_number(
    log: IntegerLog, use: Callable[[int], float]
) -> None:
    number = log.attribute("block", "head_dim", None, 16)
    assert use(number) == use(16)
    assert [s.reason for s in log.scalings] == ["its size scales values in layer"]
    assert not log.fixations


def test_a_traced_number_is_an_ordinary_integer_to_everyone_else(log: IntegerLog) -> None:
    number = log.attribute("block", "width", None, 8)
    assert isinstance(number, int)
    assert {8: "a"}[number] == "a"
    assert list(range(number)) == list(range(8))
    assert [*"abcdefghij"][number] == "i"
    assert f"{number}" == str(number) == "8"


def test_copies(log: IntegerLog) -> None:
    """A deep copy stays traced (networks copy their configuration); a pickle is a plain integer."""
    number = log.attribute("block", "width", None, 8)
    assert copy.deepcopy(number) is number
    assert type(pickle.loads(pickle.dumps(number))) is int


def test_demands_and_equalities_say_where(log: IntegerLog) -> None:
    left, right = fresh(4), fresh(4)
    log.demand(log.attribute("block", "width", 1, 4), left)
    log.same_size(left, right)
    assert log.demands[0].node is left
    assert log.demands[0].expression == Attribute("block", "width", 1, 4)
    assert log.equalities == [(left, right, "layer")]
    assert expression_of(5) == Literal(5)

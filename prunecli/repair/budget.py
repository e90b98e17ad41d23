"""How much can be done: samples that fit into memory, and work that fits into the time allowed.

Time is estimated from sizes alone, at a fixed rate that two cores reach, so that the same command does the
same work on every machine and writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from prunecli.repair import logits
from prunecli.repair.operations import Survey

RATE = 2e10
"""Multiply-adds a second."""
WIDEST = 2304
"""Columns of the widest operation that is solved as a whole."""
NARROWER = (1152, 576, 288)
FEWEST = 8
"""Samples: below this a held-out error says nothing."""
ROWS_PER_COLUMN, FEWEST_ROWS = 24, 32768
CHUNKS = 8


@dataclass(frozen=True)
class Budget:
    """``samples`` wanted, ``memory`` in bytes for activations, ``seconds`` (None: no limit)."""

    samples: int
    memory: int = 4 << 30
    seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    """``samples`` in chunks of ``chunk``, of which the last ``judged`` chunks are kept apart; operations up
    to ``most_columns`` wide are solved as a whole.
    """

    method: str
    samples: int
    chunk: int
    judged: int
    most_columns: int
    notes: tuple[str, ...] = ()


def plan(cut: Survey, dense: Survey, budget: Budget, method: str) -> Plan:
    """``cut`` and ``dense`` are surveys of one sample each."""
    each = max(1, cut.bytes + dense.bytes)
    fitting = max(FEWEST, budget.memory // each)
    samples = min(budget.samples, fitting)
    notes = []
    if samples < budget.samples:
        notes.append(
            f"repair: {samples} of {budget.samples} samples fit into --memory "
            f"({budget.memory / 2**30:.3g} GiB)"
        )
    first = _sized(method, samples, WIDEST)
    if budget.seconds is None or method != "lstsq" or seconds(cut, first) <= budget.seconds:
        return replace(first, notes=tuple(notes))
    for smaller in _smaller(samples):
        if seconds(cut, smaller) <= budget.seconds:
            said = (
                f"{smaller.samples} samples, operations over {smaller.most_columns} inputs by channel mixing"
            )
            return replace(smaller, notes=(*notes, f"repair: to stay within {budget.seconds:g} s, {said}"))
    said = f"repair: least squares would take longer than {budget.seconds:g} s, so statistics of norms only"
    return replace(_sized("bn", samples, WIDEST), notes=(*notes, said))


def _smaller(samples: int) -> Iterator[Plan]:
    """Less and less work."""
    for columns in (WIDEST, *NARROWER):
        count = samples
        while count >= min(FEWEST, samples):
            yield _sized("lstsq", count, columns)
            count //= 2


def _sized(method: str, samples: int, most_columns: int) -> Plan:
    chunk = max(1, min(32, samples // CHUNKS))
    chunks = -(-samples // chunk)
    return Plan(method, samples, chunk, max(1, chunks // 8), most_columns)


def seconds(cut: Survey, work: Plan) -> float:
    """What ``work`` takes on ``cut`` (a survey of one sample), by the number of multiply-adds."""
    total = 0.0
    for op in cut.operations:
        if op.kind in ("norm", "sum"):
            continue
        groups, rows = op.geometry.groups, op.rows * work.samples
        if op.kind == "logits":
            total += logits.work(rows, op.columns, op.outputs, op.blocks * work.samples)
            continue
        total += 3 * rows * op.columns * op.outputs
        columns = op.columns if op.columns <= work.most_columns else op.columns // 9 + 1
        used = min(rows, max(ROWS_PER_COLUMN * columns, FEWEST_ROWS))
        total += groups * (used * columns * (columns + op.outputs / groups) + 12 * columns**3)
    return total * cut.sweeps(work.most_columns) / RATE

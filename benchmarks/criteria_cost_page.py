"""What ``benchmarks/criteria_cost.py`` measures, and the page that tells of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One process. ``kind``: whose work; ``floor``: seconds of a forward and backward pass before and after,
    where it was timed; ``before``, ``peak``: GiB of the process at most, up to the work and in all; ``how``:
    how ``seconds`` were extrapolated.
    """

    kind: str
    name: str
    samples: int
    floor: tuple[float, ...]
    seconds: float
    before: float
    peak: float
    how: str = ""

    @property
    def ratio(self) -> float:
        return 2 * self.seconds / sum(self.floor)


def rows(results: Path) -> list[Row]:
    if not results.exists():
        return []
    return [Row(**json.loads(line)) for line in results.read_text().splitlines()]


WITHIN, FASTER = 5.0, 20.0
"""Wanted: passes that a criterion may take, and times that it is faster than the naive form."""
COMPARED = ("hrank", "obd-hessian", "cp", "thinet")
ALIKE = {"obd-hessian, whole gradients": "obd-hessian", "obd-hessian, graph retained": "obd-hessian"}
"""Naive forms of a criterion, by the names that they have in the rows."""

HEAD = """# What criteria cost

torchvision's resnet50 at 224 x 224 with random weights (seconds do not depend on them), {samples} samples of
noise with labels, in processes of one thread on a machine without a GPU. Written by

    python benchmarks/criteria_cost.py measure --samples {samples} --results criteria_cost.jsonl
    python benchmarks/criteria_cost.py page criteria_cost.jsonl docs/criteria-cost.md

`benchmarks/results/criteria_cost.jsonl` is the file behind this page. Every row is a process of its own;
seconds are those of the processor, since the machine had other work to do. The *floor* is one forward and
backward pass of the same samples in batches of 16, timed in the same process before and after the work;
*passes* is seconds / floor. Tracing the network is not counted, neither here nor for torch-pruning's graph.
*Memory* is the peak of the process, in brackets that before the work, with the floor's backward pass in it.
The work of cp and thinet on Gram matrices does not grow with the samples: its share of a pass shrinks with
more of them."""

NAIVE_TEXT = """`benchmarks/criteria_naive.py` has each criterion as one would write it first, in Python.
Only a slice of it was run; *naive* is what all samples would take by extrapolation.

- hrank: one forward per layer, one `matrix_rank` per image and channel, as HRank's code has it.
- taylor, obd-c, obd-hessian: a backward pass per sample, and then a sum per unit and slot.
- obd-hessian, whole gradients: only those backward passes, and the squares of whole gradients: no better loop
  over samples can be written, and on a CPU it costs little more than a pass over batches.
- obd-hessian, graph retained: what torch-pruning documents: one forward per batch of 16, and a backward pass
  through its whole graph per sample.
- cp: scikit-learn's `lars_path` on stored contributions, with samples x 16 positions x outputs as rows.
- thinet: on the same rows, the residual's norm anew for every candidate of every step."""

PEER_TEXT = """torch-pruning's importance of the same name, over all groups; taylor's gradients from one
pass, obd-hessian's from the loop that it documents. What it computes differs: its Taylor form multiplies by
the gradient of all samples together, and its Hessian form keeps the last sample only."""


def page(results: Path) -> str:
    found = rows(results)
    mine = {row.name: row for row in found if row.kind == "prune"}
    samples = max(row.samples for row in found)
    parts = [
        HEAD.format(samples=samples), criteria_table(mine),
        "## Wanted and reached", wanted(found, mine),
        "## Beside the naive form", NAIVE_TEXT, naive_table(found, mine),
        "## Beside torch-pruning", PEER_TEXT, peer_table(found, mine),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def criteria_table(mine: Mapping[str, Row]) -> str:
    lines = [header(["criterion", "seconds", "floor, s", "passes", "memory, GiB"])]
    for row in sorted(mine.values(), key=lambda row: (bool(row.floor), row.name)):
        floor = " / ".join(f"{seconds:.1f}" for seconds in row.floor)
        passes = f"{row.ratio:.2f}" if row.floor else "no samples"
        memory = f"{row.peak:.2f} ({row.before:.2f})"
        lines.append(line([row.name, f"{row.seconds:.2f}", floor, passes, memory]))
    return "\n".join(lines)


def wanted(found: Sequence[Row], mine: Mapping[str, Row]) -> str:
    over = [f"{row.name} ({row.ratio:.1f})" for row in mine.values() if row.floor and row.ratio > WITHIN]
    timed = [row for row in mine.values() if row.floor]
    lines = [
        f"- at most {WITHIN:g} passes: {len(timed) - len(over)} of {len(timed)} criteria; "
        f"over: {', '.join(over) or 'none'}"
    ]
    for name in COMPARED:
        for row in (row for row in found if row.kind == "naive" and alike(row.name) == name):
            if name in mine:
                times = faster(row, mine[name])
                verdict = "reached" if times >= FASTER else "not reached"
                lines.append(
                    f"- {name} at least {FASTER:g} times faster than the naive form"
                    f"{row.name.removeprefix(name)}: {times:.1f} times, {verdict}"
                )
    return "\n".join(lines)


def alike(name: str) -> str:
    return ALIKE.get(name, name)


def faster(other: Row, row: Row) -> float:
    """Seconds per sample of ``other`` over those of ``row``."""
    return other.seconds / other.samples / (row.seconds / row.samples)


def naive_table(found: Sequence[Row], mine: Mapping[str, Row]) -> str:
    lines = [header(["criterion", "prune, s", "naive, s", "times faster", "extrapolated from"])]
    for row in found:
        own = mine.get(alike(row.name))
        if row.kind == "naive" and own is not None:
            seconds = [f"{own.seconds:.1f}", f"{row.seconds:.0f}"]
            lines.append(line([row.name, *seconds, f"{faster(row, own):.1f}", row.how]))
    return "\n".join(lines)


def peer_table(found: Sequence[Row], mine: Mapping[str, Row]) -> str:
    lines = [
        header(
            [
                "criterion",
                "prune, s",
                "torch-pruning, s",
                "times faster",
                "memory, GiB: prune / torch-pruning",
            ]
        )
    ]
    for row in found:
        own = mine.get(row.name)
        if row.kind == "torch-pruning" and own is not None:
            seconds = [f"{own.seconds:.2f}", f"{row.seconds:.2f}"]
            memory = f"{own.peak:.2f} / {row.peak:.2f}"
            lines.append(line([row.name, *seconds, f"{faster(row, own):.1f}", memory]))
    return "\n".join(lines)


def header(names: Sequence[str]) -> str:
    return line(names) + "\n|" + "---|" * len(names)


def line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"

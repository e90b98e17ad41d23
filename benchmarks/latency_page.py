"""The rows of ``benchmarks/latency.py``, and the page that tells of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from prunecli.report.text import milliseconds, plural
from prunecli.report.timed import Latency, Spread
from prunecli.slowdown import BOUND


@dataclass(frozen=True)
class Key:
    """What was measured. ``speedup``: the target, by MACs."""

    network: str
    speedup: float
    round_to: int
    batch: int
    threads: int


@dataclass(frozen=True)
class Row:
    """One measurement. ``ratio``: MACs of the dense network over those of the cut one."""

    key: Key
    ratio: float
    latency: Latency
    processor: str
    torch: str

    @property
    def speedup(self) -> float:
        assert self.latency.speedup is not None
        return self.latency.speedup

    @property
    def share(self) -> float:
        """Of the MACs ratio: 1 where time falls as MACs do."""
        return self.speedup / self.ratio

    @property
    def is_clear(self) -> bool:
        """Whether eight of ten runs of one network lie beyond eight of ten of the other."""
        before, after = self.latency.before, self.latency.after
        return after is not None and (after.high < before.low or before.high < after.low)

    @property
    def told(self) -> str:
        of = self.key
        return (
            f"{of.network} {of.speedup:g}x --round-to {of.round_to}, batch {of.batch}, "
            f"{plural(of.threads, 'thread')}: "
            f"{self.speedup:.2f}x measured, {self.ratio:.2f}x by MACs, {self.latency.runs} runs"
        )


def rows(results: Path) -> list[Row]:
    if not results.exists():
        return []
    return [_row(json.loads(line)) for line in results.read_text(encoding="utf-8").splitlines()]


def _row(data: dict[str, Any]) -> Row:
    told = dict(data["latency"])
    told |= {name: Spread(**told[name]) for name in ("before", "after")}
    told |= {"layers": (), "slow": tuple(told["slow"])}
    return Row(Key(**data["key"]), data["ratio"], Latency(**told), data["processor"], data["torch"])


HEAD = """# Latency

What a cut is worth in milliseconds: torchvision's networks at 224 x 224 with random weights (on which the
time does not depend), cut by `prune run --speedup 2` and `4`, with and without `--round-to`. Written by

    python benchmarks/latency.py measure --results latency.jsonl
    python benchmarks/latency.py page latency.jsonl docs/latency.md

`benchmarks/results/latency.jsonl` is the file behind this page.

## How it was measured

On {processor}, with torch {torch},
in float32, without a GPU. The dense and the cut network run in turns, on the same input, under
`torch.inference_mode`, {runs} times each after warming up; so whatever else the machine does hits both.
*Dense* and *pruned* are medians of one forward of the whole batch in milliseconds, in
brackets what eight of ten runs lie between. *Speedup* is dense / pruned, *by MACs* the ratio of multiply-adds
that the target is about, and *share* the one over the other; under {bound} of it `prune run` says which
layers are slow.{remark}

## What the figures show
"""


def page(found: Sequence[Row], remark: str = "") -> str:
    """``remark``: what else is to be said of the machine at that time."""
    runs = sorted({row.latency.runs for row in found})
    machines = " and ".join(sorted({row.processor for row in found}))
    head = HEAD.format(
        processor=machines, torch=", ".join(sorted({row.torch for row in found})), bound=f"{BOUND:.0%}",
        remark=remark and f" {remark}", runs=f"{runs[0]} to {runs[-1]}" if len(runs) > 1 else runs[0],
    )  # fmt: skip
    names = list(dict.fromkeys(row.key.network for row in found))
    parts = [head, reading(found), "## By network", overview(found)]
    for name in names:
        parts += [f"## {name}", table([row for row in found if row.key.network == name])]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def reading(found: Sequence[Row]) -> str:
    """Sentences that are true of the figures, whatever they are."""
    reached = sum(row.share >= BOUND for row in found)
    slower = [row for row in found if row.speedup < 1]
    unclear = [row for row in found if not row.is_clear]
    best, worst = max(found, key=lambda row: row.share), min(found, key=lambda row: row.share)
    lines = [
        f"- {reached} of {len(found)} measurements reach {BOUND:.0%} of the ratio by MACs. The nearest is "
        f"{described(best)}, the farthest {described(worst)}."
    ]
    lines += [rounding(found, multiple) for multiple in multiples(found) if multiple > 1]
    if slower:
        lines.append(f"- Slower than the dense network: {', '.join(map(described, slower))}.")
    if unclear:
        lines.append(
            f"- In {len(unclear)} the runs of both networks overlap (8 of 10 of each), so the speedup there "
            "is no more than a hint."
        )
    said = Counter(part for row in found for part in gists(row))
    for words, number in said.most_common(3):
        lines.append(f"- Of {number} of the {len(found) - reached} that fall short the report says: {words}.")
    return "\n".join(lines)


def gists(row: Row) -> list[str]:
    """Its advice without numbers that differ from row to row."""
    parts = (row.latency.advice or "").split("; ")
    known = (
        "--round-to",
        "bound by memory",
        "hardly more than a call",
        "outside these layers",
        "no --round-to",
    )
    words = {
        "--round-to": "`--round-to` would make widths even",
        "bound by memory": "slow layers are bound by memory (depthwise or element by element)",
        "hardly more than a call": "slow layers are too short for their arithmetic to matter",
        "outside these layers": "most is lost between layers (activations, sums, copies)",
        "no --round-to": "widths are even already; memory and calls are what is left",
    }
    found = (next((key for key in reversed(known) if key in part), None) for part in parts)
    return [words[key] for key in found if key is not None]


def rounding(found: Sequence[Row], multiple: int) -> str:
    """The same cut, batch and threads with and without it."""
    plain = {key_of(row): row for row in found if row.key.round_to == 1}
    pairs = [
        (row, plain[key_of(row)]) for row in found if row.key.round_to == multiple and key_of(row) in plain
    ]
    if not pairs:
        return f"- `--round-to {multiple}` has nothing to be compared with."
    faster = sum(row.share > other.share for row, other in pairs)
    gain = geometric_mean([row.share / other.share for row, other in pairs])
    return (
        f"- `--round-to {multiple}` comes nearer to the ratio by MACs in {faster} of {len(pairs)} cases; "
        f"over all of them the share is {gain:.2f} times that without."
    )


def key_of(row: Row) -> tuple[object, ...]:
    return row.key.network, row.key.speedup, row.key.batch, row.key.threads


def multiples(found: Sequence[Row]) -> list[int]:
    return sorted({row.key.round_to for row in found})


def described(row: Row) -> str:
    of = row.key
    rounded = f" with `--round-to {of.round_to}`" if of.round_to > 1 else ""
    threads = plural(of.threads, "thread")
    return (
        f"{of.network} at {of.speedup:g}x{rounded}, batch {of.batch}, {threads} ({row.speedup:.2f}x of "
        f"{row.ratio:.2f}x)"
    )


def overview(found: Sequence[Row]) -> str:
    """Geometric means over batches and threads."""
    asked = multiples(found)
    titles = ["network", "target", *(f"--round-to {n}" if n > 1 else "as it comes" for n in asked)]
    lines = [line(titles), "|" + "---|" * len(titles)]
    for name, speedup in dict.fromkeys((row.key.network, row.key.speedup) for row in found):
        cells = [name, f"{speedup:g}x"]
        for multiple in asked:
            wanted = (name, speedup, multiple)
            group = [r for r in found if (r.key.network, r.key.speedup, r.key.round_to) == wanted]
            cells.append(mean(group) if group else "-")
        lines.append(line(cells))
    note = (
        "Measured speedup and ratio by MACs; the former is the geometric mean over batch sizes and threads."
    )
    return "\n".join([note, "", *lines])


def mean(group: Sequence[Row]) -> str:
    return f"{geometric_mean([row.speedup for row in group]):.2f}x of {group[0].ratio:.2f}x"


def table(found: Sequence[Row]) -> str:
    titles = [
        "target", "round-to", "batch", "threads", "dense, ms", "pruned, ms", "speedup", "by MACs", "share"
    ]  # fmt: skip
    lines = [line(titles), "|" + "---|" * len(titles)]
    for row in found:
        of, told = row.key, row.latency
        assert told.after is not None
        lines.append(
            line(
                [
                    f"{of.speedup:g}x", str(of.round_to), str(of.batch), str(of.threads), words(told.before),
                    words(told.after), f"{row.speedup:.2f}x", f"{row.ratio:.2f}x", f"{row.share:.0%}",
                ]
            )
        )  # fmt: skip
    return "\n".join(lines)


def words(spread: Spread) -> str:
    median, low, high = (
        milliseconds(time).removesuffix(" ms") for time in (spread.median, spread.low, spread.high)
    )
    return f"{median} ({low} to {high})"


def line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"

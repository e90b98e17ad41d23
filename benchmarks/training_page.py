"""What ``training.py`` measured, as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

NETWORKS = ("resnet20", "vgg")
ROUNDED = {"grasp": ("grasp", 1.0), "grasp T=200": ("grasp", 200.0), "grasp-abs": ("grasp-abs", 1.0)}
"""Criterion and temperature."""

METHODS = (
    "one-shot", "greg-1", "greg-2", "repaired", "bn-scale", "group-lasso", "group-norm", "growing-reg",
    *ROUNDED,
)  # fmt: skip
SPEEDUPS = (2.0, 4.0, 8.0)
SEEDED = ("one-shot", "greg-1")
SEEDS = 3


@dataclass(frozen=True)
class Key:
    network: str
    method: str
    speedup: float
    seed: int


@dataclass(frozen=True)
class Cell:
    """``before``, ``cut`` and ``finetuned`` are top-1 on the test set."""

    key: Key
    reached: float
    before: float
    cut: float
    finetuned: float
    told: dict[str, Any] | None = None


def cells(results: Path) -> Iterator[Cell]:
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield Cell(**{**row, "key": Key(**row["key"])})


INTRO = """# Training before and after the cut, on Fashion-MNIST

    export FASHION_MNIST=DIR
    python benchmarks/training.py train NETWORKS
    python benchmarks/training.py measure NETWORKS --results training.jsonl
    python benchmarks/training.py page training.jsonl docs/training-accuracy.md

A ResNet-20 and a VGG of six convolutions, trained for ten epochs on all 60,000 pictures at 14 x 14. All
that follows trains on {trained:,} of them: ten epochs with a regularizer; after the cut four at 0.01 with
milestones, on labels alone, the same for all rows. Top-1 on the {tested:,} test pictures, in per cent: just
before the cut, just after it, finetuned. One ratio for all groups (scheme local), nothing repaired but in
the row that says so.

`one-shot`, `greg-1` and `repaired` remove the same units, those of the smallest L1 norm in the dense
network; `greg-1` and `greg-2` are those of `--preset greg:fast`, over 1,570 steps. The other regularizers
have PruningBench's numbers for ResNet18 and VGG19 on CIFAR-100; they are cut by `magnitude-l2`, `bn-scale`
by `bn-scale`. `grasp` and `grasp-abs` are of five rounds (`--rounds 5`): an epoch, then a cut to an equal
share, under the scheme global; before and cut are those of the last. Rows with a spread: mean of {seeds}
seeds, and the standard deviation of the last figure."""


def page(results: Path, tested: int, trained: int) -> str:
    rows = list(cells(results))
    lines = [INTRO.format(tested=tested, trained=trained, seeds=SEEDS)]
    for network in NETWORKS:
        own = [row for row in rows if row.key.network == network]
        if own:
            lines += ["", f"## {network}", "", *_table(own), "", *_findings(own)]
    return "\n".join(lines) + "\n"


def _of(rows: Sequence[Cell], method: str, speedup: float) -> list[Cell]:
    found = [row for row in rows if (row.key.method, row.key.speedup) == (method, speedup)]
    return sorted(found, key=lambda row: row.key.seed)


def _table(rows: Sequence[Cell]) -> list[str]:
    dense = next(row.before for row in rows if row.key.method == "one-shot")
    titles = " | ".join(f"{speedup:g}x: before, cut, finetuned" for speedup in SPEEDUPS)
    lines = [f"Dense: {dense:.2%}.", "", f"| before the cut | {titles} |", "|---" * (len(SPEEDUPS) + 1) + "|"]
    for method in METHODS:
        cols = [_figures(_of(rows, method, speedup)) for speedup in SPEEDUPS]
        if any(cols):
            lines.append(f"| {method} | {' | '.join(col or '-' for col in cols)} |")
    return lines


def _figures(found: Sequence[Cell]) -> str:
    if not found:
        return ""
    before, cut, last = (
        [100 * value for value in values]
        for values in zip(*((row.before, row.cut, row.finetuned) for row in found), strict=True)
    )
    spread = f" ± {stdev(last):.2f}" if len(last) > 1 else ""
    return f"{mean(before):.2f}, {mean(cut):.2f}, **{mean(last):.2f}**{spread}"


def _findings(rows: Sequence[Cell]) -> list[str]:
    lines = []
    for speedup in SPEEDUPS:
        pairs = zip(_of(rows, "greg-1", speedup), _of(rows, "one-shot", speedup), strict=False)
        gains = [100 * (one.finetuned - other.finetuned) for one, other in pairs]
        if gains:
            each = ", ".join(f"{gain:+.2f}" for gain in gains)
            lines.append(f"- `greg-1` over `one-shot` at {speedup:g}x: {mean(gains):+.2f} points ({each}).")
    grown = [row for row in rows if row.key.method in ("greg-1", "greg-2")]
    if grown:
        apart = max(abs(row.before - row.cut) for row in grown)
        ratios = [row.told["kept / picked"] for row in grown if row.told]
        least = min((ratio for ratio in ratios if ratio is not None), default=float("nan"))
        reached = sum(bool(row.told and row.told["converged"]) for row in grown)
        lines.append(
            f"- After GReg ({len(grown)} runs): accuracy just before and just after the cut differs by at "
            f"most {100 * apart:.2f} points; kept units are at least {least:.3g} times as large as picked "
            f"ones in every slot; {reached} of {len(grown)} converged (1,000 times)."
        )
    return lines

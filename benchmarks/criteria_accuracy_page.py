"""What ``benchmarks/criteria_accuracy.py`` measures, and the page that tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

SPEEDUPS = (2.0, 4.0, 8.0)
SCHEMES = ("protected", "global", "local")
CRITERIA = (
    ("magnitude-l2", 1.0), ("taylor", 1.0), ("random", 1.0), ("magnitude-l1", 1.0), ("bn-scale", 1.0),
    ("lamp", 1.0), ("fpgm", 1.0), ("loss-preservation", 1.0), ("loss-magnitude", 1.0), ("grasp", 1.0),
    ("grasp", 200.0), ("grasp-abs", 1.0), ("obd-c", 1.0), ("obd-hessian", 1.0), ("fisher", 1.0), ("cp", 1.0),
    ("thinet", 1.0), ("hrank", 1.0), ("activation", 1.0), ("wanda", 1.0),
)  # fmt: skip
"""With the temperature of the loss."""
ROUNDS = (("grasp", 1.0), ("grasp", 200.0), ("grasp-abs", 1.0), ("grasp-abs", 200.0), ("magnitude-l2", 1.0))
"""Measured in five rounds of scoring too."""


class Key(NamedTuple):
    criterion: str
    temperature: float
    scheme: str
    speedup: float
    steps: int


@dataclass(frozen=True)
class Cell:
    """One plan. ``cut``, ``repaired``, ``finetuned``: shares of the 10,000 test images that are right; the
    last one comes from the ``Tuned`` of the plan, if there is one.

    ``plan``: a digest of what is kept; ``kept``: share of the parameters; ``reached``: the speedup;
    ``seconds``: of scoring and selecting.
    """

    key: Key
    plan: str
    kept: float
    reached: float
    seconds: float
    cut: float = 0.0
    repaired: float = 0.0
    finetuned: float | None = None

    def at(self, stage: str) -> float | None:
        value: float | None = getattr(self, stage)
        return value


@dataclass(frozen=True)
class Tuned:
    """Accuracy of a plan's repaired network after an epoch."""

    plan: str
    accuracy: float


def rows(results: Path, kind: str) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    found = [json.loads(line) for line in results.read_text().splitlines()]
    return [row[kind] for row in found if kind in row]


def cells(results: Path) -> list[Cell]:
    tuned = finetuned(results)
    made = (Cell(**{**row, "key": Key(*row["key"])}) for row in rows(results, "cell"))
    return [replace(cell, finetuned=tuned.get(cell.plan)) for cell in made]


def finetuned(results: Path) -> dict[str, float]:
    """By plan."""
    return {row["plan"]: row["accuracy"] for row in rows(results, "tuned")}


Found = Mapping[Key, Cell]
STAGES = ("cut", "repaired", "finetuned")
TIE = 0.005
"""Smaller differences of accuracy are called ties: two standard errors of 10,000 images are about as much."""

HEAD = """# Criteria on real data

A ResNet-20 (one input channel) trained for 10 epochs on Fashion-MNIST at 14 x 14 (means of 2 x 2 pixels);
{dense:.2%} of the 10,000 test images right. It is cut once per criterion, scheme and speedup ({plans} rows,
{distinct} different networks). Every figure is the share of all test images. Made by

    export FASHION_MNIST=DIR
    python benchmarks/criteria_accuracy.py train resnet20-14.pth
    python benchmarks/criteria_accuracy.py measure resnet20-14.pth NETWORKS --results criteria_accuracy.jsonl
    python benchmarks/criteria_accuracy.py finetune NETWORKS --results criteria_accuracy.jsonl
    python benchmarks/criteria_accuracy.py page criteria_accuracy.jsonl docs/criteria-accuracy.md

on two shared cores without a GPU; DIR holds Fashion-MNIST's four idx.gz files, as Debian's package
dataset-fashion-mnist installs them. `benchmarks/results/criteria_accuracy.jsonl` is the file behind this
page.

*cut* is the network as `--repair none` leaves it, *repaired* with the default repair, *finetuned* the
repaired one after one epoch of SGD (rate 0.01, momentum 0.9, batch 128, weight decay 5e-4; every network sees
the same pictures in the same order). {after} Criteria and repair
read the same 512 images of the training set, with labels; *T* is `--temperature`. Everything else is the
default of `prune`. There is one network, one seed: differences under half a point are called ties below,
and larger ones need not be those of another network."""


def page(results: Path) -> str:
    found = {cell.key: cell for cell in cells(results)}
    dense = next((cell for cell in found.values() if cell.key.criterion == "dense"), None)
    if dense is None:
        raise SystemExit(f"{results} has no row of the dense network")
    rows = [cell for cell in found.values() if cell is not dense]
    distinct = {cell.plan: cell for cell in rows}
    head = HEAD.format(
        dense=dense.cut, after=after(dense, distinct.values()), plans=len(rows), distinct=len(distinct)
    )
    parts = [head, "## What the papers found", findings(found)]
    for scheme in SCHEMES:
        parts += [f"## {scheme}", accuracies(found, scheme)]
    parts += ["## Five rounds", ROUNDS_TEXT, rounds(found)]
    parts += ["## Parameters left", PARAMETERS, parameters(found)]
    return "\n\n".join(parts) + "\n"


def after(dense: Cell, distinct: Collection[Cell]) -> str:
    left = sum(cell.finetuned is None for cell in distinct)
    text = "" if dense.finetuned is None else f"The dense network after such an epoch: {dense.finetuned:.2%}."
    return text + (f" {left} of the networks were not finetuned." if left else "")


ROUNDS_TEXT = """`--steps 5 --scheme protected`: scores are taken anew in each of five rounds, on the network
as it is by then; nothing is trained or repaired between them. In brackets: one round."""
PARAMETERS = """Share of the dense network's parameters, at 2x / 4x / 8x fewer MACs, and seconds of one
process with one thread for scoring and selecting (median over schemes and speedups; the machine had other
work to do, so they tell little; see [criteria-cost.md](criteria-cost.md))."""


def named(criterion: str, temperature: float) -> str:
    return f"{criterion}, T={temperature:g}" if criterion.startswith("grasp") else criterion


def at(
    found: Found, criterion: tuple[str, float], scheme: str, speedup: float, steps: int = 1
) -> Cell | None:
    return found.get(Key(*criterion, scheme, speedup, steps))


def accuracies(found: Found, scheme: str) -> str:
    lines = [header(["criterion", *(f"{speedup:g}x {stage}" for speedup in SPEEDUPS for stage in STAGES)])]
    best = {
        (speedup, stage): max(values(of(found, scheme, speedup), stage), default=0.0)
        for speedup in SPEEDUPS for stage in STAGES
    }  # fmt: skip
    for criterion in CRITERIA:
        shown = [
            share(at(found, criterion, scheme, speedup), stage, best[speedup, stage])
            for speedup in SPEEDUPS for stage in STAGES
        ]  # fmt: skip
        lines.append(line([named(*criterion), *shown]))
    return "\n".join(lines)


def share(cell: Cell | None, stage: str, best: float) -> str:
    value = None if cell is None else cell.at(stage)
    if value is None:
        return ""
    return f"**{100 * value:.2f}**" if value == best else f"{100 * value:.2f}"


def values(cells: Iterable[Cell], stage: str) -> list[float]:
    return [value for cell in cells if (value := cell.at(stage)) is not None]


def of(found: Found, scheme: str, speedup: float) -> list[Cell]:
    """The cells of one column, in the order of ``CRITERIA``."""
    cells = (at(found, criterion, scheme, speedup) for criterion in CRITERIA)
    return [cell for cell in cells if cell is not None]


def rounds(found: Found) -> str:
    lines = [header(["criterion", *(f"{speedup:g}x {stage}" for speedup in SPEEDUPS for stage in STAGES)])]
    for criterion in ROUNDS:
        shown = []
        for speedup in SPEEDUPS:
            five, once = (at(found, criterion, SCHEMES[0], speedup, steps) for steps in (5, 1))
            for stage in STAGES:
                before = share(once, stage, -1.0)
                shown.append(share(five, stage, -1.0) + (f" ({before})" if before else ""))
        lines.append(line([named(*criterion), *shown]))
    return "\n".join(lines)


def parameters(found: Found) -> str:
    lines = [header(["criterion", *SCHEMES, "seconds"])]
    for criterion in CRITERIA:
        cells = [
            [at(found, criterion, scheme, speedup) for speedup in SPEEDUPS] for scheme in SCHEMES
        ]  # fmt: skip
        shown = [" / ".join("" if cell is None else f"{cell.kept:.3f}" for cell in row) for row in cells]
        seconds = sorted(cell.seconds for row in cells for cell in row if cell is not None)
        lines.append(
            line([named(*criterion), *shown, f"{seconds[len(seconds) // 2]:.2f}" if seconds else ""])
        )
    return "\n".join(lines)


def findings(found: Found) -> str:
    return "\n".join(text for make in FINDINGS for text in make(found))


def compared(pairs: Sequence[tuple[Cell | None, Cell | None]], stage: str) -> str:
    """How often the first is better, level and worse, and by how much in the mean."""
    both = [values((a, b), stage) for a, b in pairs if a is not None and b is not None]
    gaps = [pair[0] - pair[1] for pair in both if len(pair) == 2]
    if not gaps:
        return "not measured"
    better, worse = sum(gap > TIE for gap in gaps), sum(gap < -TIE for gap in gaps)
    mean = 100 * sum(gaps) / len(gaps)
    return f"{better} better, {len(gaps) - better - worse} level, {worse} worse ({mean:+.2f} points)"


def by_stage(pairs: Sequence[tuple[Cell | None, Cell | None]]) -> str:
    return "; ".join(f"{stage} {compared(pairs, stage)}" for stage in STAGES)


def schemes(found: Found) -> Iterator[str]:
    l2 = ("magnitude-l2", 1.0)
    yield "- *Protected is at least as good as global at high speedups, both at least as good as local at 2x*"
    yield "  (PruningBench, magnitude-l2). At 8x, protected beside global: " + by_stage(
        [(at(found, l2, "protected", 8.0), at(found, l2, "global", 8.0))]
    )
    yield "  At 2x, global beside local: " + by_stage(
        [(at(found, l2, "global", 2.0), at(found, l2, "local", 2.0))]
    )
    for other in ("global", "local"):
        pairs = [
            (at(found, criterion, "protected", speedup), at(found, criterion, other, speedup))
            for criterion in CRITERIA for speedup in SPEEDUPS
        ]  # fmt: skip
        yield f"  All criteria and speedups, protected beside {other}: " + by_stage(pairs)


def grasps(found: Found) -> Iterator[str]:
    yield "- *grasp-abs is better than grasp with T=200, which is better than T=1, after several rounds*"
    yield "  (Lubana and Dick, who train between the rounds)."
    plain, warm, absolute = ("grasp", 1.0), ("grasp", 200.0), ("grasp-abs", 1.0)
    for steps, told in ((5, "5 rounds"), (1, "1 round")):
        for one, other in ((absolute, warm), (warm, plain), (absolute, plain)):
            pairs = [
                (at(found, one, "protected", s, steps), at(found, other, "protected", s, steps))
                for s in SPEEDUPS
            ]
            yield f"  {told}, {named(*one)} beside {named(*other)}: {by_stage(pairs)}"


def losses(found: Found) -> Iterator[str]:
    yield "- *loss-magnitude is at least as good as loss-preservation* (Lubana and Dick). Over schemes"
    pairs = [
        (
            at(found, ("loss-magnitude", 1.0), scheme, speedup),
            at(found, ("loss-preservation", 1.0), scheme, speedup),
        )
        for scheme in SCHEMES for speedup in SPEEDUPS
    ]  # fmt: skip
    yield f"  and speedups: {by_stage(pairs)}"


def leaders(found: Found) -> Iterator[str]:
    yield "- *Magnitude criteria are in the top five of most leaderboards* (PruningBench). The better of"
    for stage in STAGES:
        ranks = []
        for scheme in SCHEMES:
            for speedup in SPEEDUPS:
                column = of(found, scheme, speedup)
                own = values((cell for cell in column if cell.key.criterion.startswith("magnitude")), stage)
                if own:
                    ranks.append(1 + sum(value > max(own) for value in values(column, stage)))
        top = sum(rank <= 5 for rank in ranks)
        yield (
            f"  magnitude-l1 and -l2, {stage}: in the top five in {top} of {len(ranks)} columns "
            f"(places {', '.join(map(str, ranks))} of {len(CRITERIA)})"
        )


def counts(found: Found) -> Iterator[str]:
    yield "- *Under global schemes criteria leave very different parameter counts at one speedup*"
    yield "  (PruningBench). Share left:"
    for scheme in SCHEMES:
        shown = []
        for speedup in SPEEDUPS:
            column = sorted(of(found, scheme, speedup), key=lambda cell: cell.kept)
            if column:
                low, high = column[0], column[-1]
                shown.append(
                    f"{speedup:g}x from {low.kept:.3f} ({named(*low.key[:2])}) "
                    f"to {high.kept:.3f} ({named(*high.key[:2])})"
                )
        yield f"  {scheme}: {'; '.join(shown)}"


def chance(found: Found) -> Iterator[str]:
    yield "- How much the criterion matters, best to worst, and who is worse than chance by more than a tie:"
    for scheme in SCHEMES:
        for stage in STAGES:
            shown = [spread(of(found, scheme, speedup), stage) for speedup in SPEEDUPS]
            yield f"  {scheme}, {stage}: " + "; ".join(
                f"{speedup:g}x {text}" for speedup, text in zip(SPEEDUPS, shown, strict=True)
            )


def spread(column: Sequence[Cell], stage: str) -> str:
    shares = values(column, stage)
    if not shares:
        return "not measured"
    random = max(values((cell for cell in column if cell.key.criterion == "random"), stage), default=0.0)
    worse = sum(value < random - TIE for value in shares)
    return f"{100 * max(shares):.2f} to {100 * min(shares):.2f}, {worse} of {len(shares)} worse than random"


FINDINGS: Sequence[Callable[[Found], Iterator[str]]] = (schemes, grasps, losses, leaders, counts, chance)


def header(names: Sequence[str]) -> str:
    return line(names) + "\n|" + "---|" * len(names)


def line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"

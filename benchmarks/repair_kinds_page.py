"""What ``benchmarks/repair_kinds.py`` measures, and the page that tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("vit", {}),
    "mixer": ("mixer", {}),
    "mixer, stream whole": ("mixer", {"ignore": ("patches.project",)}),
}
"""A trained network and how else it is cut: without the stream, only the inside of the MLPs is."""
TRAINED_SPEEDUPS, RANDOM_SPEEDUPS = (1.5, 2.0, 4.0), (1.5, 2.0)
WAYS = (512, 32, 0)
"""Images for least squares, 0 for 32 inputs of noise."""
SIDE, FRESH = 96, 64
"""Of the inputs of networks with random weights, and how many of them no repair has seen."""


@dataclass(frozen=True)
class Trained:
    """Accuracy of one network on the 10,000 test images. ``images`` is None for the network as it was cut,
    and with speedup 1 for the dense one; ``written``: the candidate that the tool chose, ``note``: why it
    could not repair.
    """

    network: str
    speedup: float
    images: int | None
    accuracy: float
    written: str = "none"
    errors: dict[str, float] | None = None
    seconds: float = 0.0
    note: str = ""

    @property
    def key(self) -> tuple[str, float, int | None]:
        return self.network, self.speedup, self.images


@dataclass(frozen=True)
class Random:
    """Repair of one network with random weights. ``errors`` by candidate, as the tool judged them;
    ``constant``: that of an answer which is always the mean of the dense outputs; ``fresh``: those of the cut
    and of what was written, on noise of another seed.
    """

    network: str
    speedup: float
    errors: dict[str, float]
    written: str
    repaired: int
    operations: int
    seconds: float
    constant: float
    fresh: tuple[float, float]
    notes: tuple[str, ...]

    @property
    def key(self) -> tuple[str, float]:
        return self.network, self.speedup


def rows(results: Path, kind: str) -> list[dict[str, Any]]:
    if not results.exists():
        return []
    found = [json.loads(line) for line in results.read_text().splitlines()]
    return [row[kind] for row in found if kind in row]


def trained_in(results: Path) -> dict[tuple[str, float, int | None], Trained]:
    return {cell.key: cell for cell in (Trained(**row) for row in rows(results, "trained"))}


def random_in(results: Path) -> dict[tuple[str, float], Random]:
    return {cell.key: cell for cell in (Random(**row) for row in rows(results, "random"))}


def page(results: Path) -> str:
    trained, random = trained_in(results), random_in(results)
    parts = [
        HEAD, "## Trained networks", TRAINED, trained_table(trained), no_better(trained),
        "## Random weights", RANDOM_TEXT, random_table(random), verdict(list(random.values())),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


HEAD = """# Repair of other networks, as measured

[repair.md](repair.md) measures a ResNet. Here are a ViT and an MLP-mixer that were trained, and networks of
torchvision with random weights. All are cut with `--criterion magnitude-l2 --scheme local` and repaired
without labels and without training. Made by

    python benchmarks/repair_kinds.py train DIR FOLDER
    python benchmarks/repair_kinds.py trained DIR FOLDER --results kinds.jsonl
    python benchmarks/repair_kinds.py random --results kinds.jsonl
    python benchmarks/repair_kinds.py page kinds.jsonl docs/repair-kinds.md

on one of two shared cores without a GPU. `benchmarks/results/repair_kinds.jsonl` is the `kinds.jsonl` behind
this page."""

TRAINED = """A ViT and an MLP-mixer (`benchmarks/repair_small.py`; width 64, 4 blocks, patches of 7 x 7),
trained on Fashion-MNIST for a few minutes. Every figure is the share of the 10,000 test images that is right.
*lstsq* is `--repair lstsq` with 512 or 32 images of the training set, or with 32 inputs of noise (no data at
all). Their norms are layer norms, which remember nothing, so there is no `--repair bn` to be measured.
*(cut)*: the tool found nothing nearer to the dense network than the cut, and left it as it was; *(failed)*:
it could not repair and said so. In the mixer whose stream is left whole (`--ignore patches.project`) only the
inside of the MLPs is cut."""

RANDOM_TEXT = f"""These have no accuracy that would mean anything: only the relative error of their outputs is
shown, of every candidate on the inputs that the tool keeps apart (4 of its default 32 inputs of noise,
3 x {SIDE} x {SIDE}), with the default limit of 60 s. **Bold** is what was written. The running statistics of
batch norms were first set by passes over 128 other inputs of noise.

*constant* is the error of an answer that is always the mean of the dense outputs, whatever the input: a
repair that is no better has only got the mean right. *other noise*: errors of the cut and of what was
written on {FRESH} more inputs, where *constant* is measured too. Seconds are those of the repair,
on a machine with other work to do.

ConvNeXt's layer scales are 1 (a new one has 1e-6, and its branches do nothing); the ViT has the size of a
ViT-S and a head of random weights (a new one has zeros). Trained networks behave differently."""


WHY = """It is not the network that cannot: an MLP over the patches has a row for every channel, the cut
network has fewer channels, and the repair compares rows one by one. One such operation stops the repair of
all."""


def trained_table(found: dict[tuple[str, float, int | None], Trained]) -> str:
    heads = ["network", "speedup", "dense", "cut", *(f"lstsq, {images or 'noise'}" for images in WAYS)]
    lines = [header(heads)]
    for name in CASES:
        for speedup in TRAINED_SPEEDUPS:
            keys = [(name, 1.0, None), *((name, speedup, images) for images in (None, *WAYS))]
            lines.append(line([name, f"{speedup:g}x", *(share(found.get(key)) for key in keys)]))
    return "\n".join(lines)


def share(cell: Trained | None) -> str:
    if cell is None:
        return ""
    left = (
        " (failed)" if cell.note else " (cut)" if cell.images is not None and cell.written == "none" else ""
    )
    return f"{cell.accuracy:.2%}{left}"


def no_better(found: dict[tuple[str, float, int | None], Trained]) -> str:
    """Which repairs have not gained a point of accuracy, and which failed."""
    repairs = [cell for cell in found.values() if cell.images is not None]
    lines = [f"Of {len(repairs)} repairs:\n"]
    for name in CASES:
        of = [cell for cell in repairs if cell.network == name]
        failed = [cell for cell in of if cell.note]
        gains = [cell.accuracy - found[cell.network, cell.speedup, None].accuracy for cell in of]
        small = [
            f"{cell.speedup:g}x on {f'{cell.images} images' if cell.images else 'noise'} "
            f"({100 * gain:+.2f} points)"
            for cell, gain in zip(of, gains, strict=True) if not cell.note and gain < 0.01
        ]  # fmt: skip
        better = len(of) - len(failed) - len(small)
        text = f"- {name}: {better} of {len(of)} at least a point better than the cut"
        text += f"; not: {', '.join(small)}" if small else ""
        text += f"; {len(failed)} failed" if failed else ""
        lines.append(text)
    notes = sorted({cell.note.partition(" (")[0] for cell in repairs if cell.note})
    if notes:
        lines.append(
            "\nThe notes of those that failed: " + "; ".join(f"*{note}*" for note in notes) + f".\n{WHY}"
        )
    return "\n".join(lines)


CANDIDATES = ("none", "bn", "lstsq", "lstsq + bn")


def random_table(found: dict[tuple[str, float], Random]) -> str:
    lines = [header(["network", "speedup", *CANDIDATES, "constant", "other noise", "operations", "seconds"])]
    for cell in found.values():
        lines.append(line([cell.network, f"{cell.speedup:g}x", *cells(cell)]))
    return "\n".join(lines)


def cells(cell: Random) -> Iterator[str]:
    for name in CANDIDATES:
        error = cell.errors.get(name)
        text = "" if error is None else f"{error:.3g}"
        yield f"**{text}**" if name == cell.written else text
    yield f"{cell.constant:.3g}"
    yield " / ".join(f"{error:.3g}" for error in cell.fresh)
    yield f"{cell.repaired} of {cell.operations}"
    yield f"{cell.seconds:.0f}"


def verdict(found: Sequence[Random]) -> str:
    """Where repair did not help, where an answer without looking is as good, and what the tool said."""
    kept = [said(cell) for cell in found if cell.written == "none"]
    worse = [said(cell) for cell in found if cell.fresh[1] > cell.fresh[0]]
    blind = [said(cell) for cell in found if cell.fresh[1] >= 0.95 * cell.constant]
    lines = [
        f"- nothing was better than the cut: {listed(kept)}",
        f"- what was written is worse than the cut on the other noise: {listed(worse)}",
        f"- what was written has at least 95 % of the error of the constant answer there: {listed(blind)}",
    ]
    lines += [f"- {said(cell)}: {note}" for cell in found for note in cell.notes if "to stay" in note]
    return f"Of {len(found)} repairs:\n\n" + "\n".join(lines)


def said(cell: Random) -> str:
    return f"{cell.network} {cell.speedup:g}x"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def header(names: Sequence[str]) -> str:
    return line(names) + "\n|" + "---|" * len(names)


def line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"

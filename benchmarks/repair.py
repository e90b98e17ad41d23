"""Accuracy after the cut, without training: a ResNet-20 on Fashion-MNIST.

    python benchmarks/repair.py train DIR --epochs 10 -o resnet20.pth
    python benchmarks/repair.py measure resnet20.pth DIR --results repair.jsonl
    python benchmarks/repair.py peer resnet20.pth DIR --results repair.jsonl
    python benchmarks/repair.py page repair.jsonl docs/repair.md --checkpoint resnet20.pth --data DIR

and, for a network trained with another weight decay, beside it,

    python benchmarks/repair.py train DIR --epochs 8 --decay 2e-3 -o decay.pth
    python benchmarks/repair.py measure decay.pth DIR --results decay.jsonl --criterion magnitude-l2
    python benchmarks/repair.py page ... --beside "weight decay 2e-3, 8 epochs" decay.pth decay.jsonl

What other draws of the inputs give, and training on them, is measured by ``repair_draws.py`` and
``repair_distilled.py``; ``page ... --draws FILE --distilled FILE`` shows it.

DIR holds Fashion-MNIST's four idx.gz files, as Debian's package dataset-fashion-mnist installs them. Every
plan (scheme, criterion, speedup) is cut once and repaired in several ways; ``measure`` goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import repair_distilled
import repair_draws
import repair_peer
import torch
from fashion import ARCH, NETWORK, TRANSFORM, Recipe, accuracy, calibration, pictures, train
from torch import nn

import prunecli

SPEEDUPS = (2.0, 4.0, 8.0)
CRITERIA = ("magnitude-l2", "bn-scale", "fpgm", "random")
SCHEMES = ("protected", "local", "global")
WAYS = (
    ("none", None), ("lstsq", 512), ("lstsq", 32), ("lstsq", 0), ("bn", 512), ("bn", 32), ("bn", 0),
)  # fmt: skip
"""Method and number of images, 0 for 32 inputs of noise."""
PEER_WAYS = (("torch-pruning", None), ("torch-pruning + bn", 512))
WANTED = {(2.0, 512): 1.0, (2.0, 0): 2.5, (4.0, 512): 3.0, (8.0, 512): 8.0}
"""Points below dense, for least squares at its best scheme."""


@dataclass(frozen=True)
class Cell:
    """One measurement. ``accuracy``: share of the 10,000 test images; ``seconds``: those of the repair."""

    criterion: str
    scheme: str
    speedup: float
    method: str
    images: int | None
    accuracy: float
    applied: str
    error: float | None
    seconds: float

    @property
    def key(self) -> tuple[object, ...]:
        return self.criterion, self.scheme, self.speedup, self.method, self.images


def plans(criteria: Sequence[str] = CRITERIA) -> Iterator[tuple[str, str, float]]:
    """The ones that a user meets first come first."""
    for criterion in criteria:
        for speedup in SPEEDUPS:
            for scheme in SCHEMES:
                yield criterion, scheme, speedup


def measure(checkpoint: Path, folder: Path, results: Path, criteria: Sequence[str]) -> None:
    test = pictures(folder, "t10k")
    known = {cell.key for cell in cells(results)}
    for criterion, scheme, speedup in plans(criteria):
        todo = [way for way in WAYS if (criterion, scheme, speedup, *way) not in known]
        if not todo:
            continue
        cut = prunecli.prune(
            checkpoint, **NETWORK, speedup=speedup, criterion=criterion, scheme=scheme, repair="none"
        )
        for method, images in todo:
            cell = one(checkpoint, folder, cut, test, (criterion, scheme, speedup, method, images))
            with results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            print(cell, flush=True)


def measure_peer(checkpoint: Path, folder: Path, results: Path) -> None:
    """torch-pruning's networks, for the same table."""
    test, (images, _) = pictures(folder, "t10k"), pictures(folder, "train")
    calibration = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:512]]
    known = {cell.key for cell in cells(results)}
    network = repair_peer.dense(checkpoint, ARCH, NETWORK["arch_args"])
    for criterion, scheme, speedup in plans():
        if scheme not in repair_peer.SCHEMES or (criterion, scheme, speedup, *PEER_WAYS[1]) in known:
            continue
        cut = repair_peer.pruned(network, images[:1], criterion, scheme, speedup)
        fresh = repair_peer.recalibrated(cut, calibration)
        for (method, count), found in zip(PEER_WAYS, (cut, fresh), strict=True):
            cell = Cell(criterion, scheme, speedup, method, count, right(found, test), "", None, 0.0)
            with results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            print(cell, flush=True)


def one(
    checkpoint: Path,
    folder: Path,
    cut: prunecli.Result,
    test: tuple[torch.Tensor, torch.Tensor],
    key: tuple[str, str, float, str, int | None],
) -> Cell:
    *head, method, images = key
    if method == "none":
        return Cell(*head, method, None, right(cut.model, test), "none", None, 0.0)  # type: ignore[arg-type]
    began = perf_counter()
    result = prunecli.prune(
        checkpoint, **NETWORK, plan=cut.plan, repair=method, **calibration(folder, images)
    )  # type: ignore[arg-type]
    took = result.report.timings.get("repair", perf_counter() - began)
    facts = result.report.repair
    assert facts is not None
    reached = right(result.model, test)
    return Cell(*head, method, images, reached, facts.applied, facts.errors.get(facts.applied), took)  # type: ignore[arg-type]


def right(network: nn.Module, test: tuple[torch.Tensor, torch.Tensor]) -> float:
    found = accuracy(network, *test)
    network.eval()
    return found


def cells(results: Path) -> list[Cell]:
    if not results.exists():
        return []
    return [Cell(**json.loads(line)) for line in results.read_text().splitlines()]


def page(
    results: Path,
    dense: float,
    others: Sequence[tuple[str, float, Path]],
    draws: Path | None,
    distilled: Path | None,
) -> str:
    """``others``: networks beside it, with their accuracy and their results; ``draws`` and ``distilled``:
    results of ``repair_draws.py`` and ``repair_distilled.py``.
    """
    found = {cell.key: cell for cell in cells(results)}
    parts = [HEAD.format(dense=dense, count=len(found)), "## Wanted and reached"]
    for name, accuracy_, where in [(FIRST, dense, results), *others]:
        parts += [f"{name}:", wanted({cell.key: cell for cell in cells(where)}, accuracy_)]
    if others:
        parts += [BESIDE, beside([(FIRST, dense, results), *others])]
    if draws is not None:
        parts.append(repair_draws.section(repair_draws.read(draws), dense))
    if distilled is not None:
        parts.append(repair_distilled.section(repair_distilled.read(distilled), dense))
    for criterion in CRITERIA:
        lines = [row(found, criterion, scheme, speedup) for speedup in SPEEDUPS for scheme in SCHEMES]
        lines = [line for line in lines if line]
        if lines:
            parts += [f"## {criterion}", "\n".join([HEADER, *lines])]
    return "\n\n".join(parts) + "\n"


HEAD = """# Repair, as measured

A ResNet-20 (one input channel, 28 x 28) trained on Fashion-MNIST, {dense:.2%} of the 10,000 test images
right. It is cut and repaired without labels and without training, in {count} ways; every figure is the share
of all test images. Made by

    python benchmarks/repair.py train DIR --epochs 10 -o resnet20.pth
    python benchmarks/repair.py measure resnet20.pth DIR --results repair.jsonl
    python benchmarks/repair.py peer resnet20.pth DIR --results repair.jsonl
    python benchmarks/repair.py page repair.jsonl docs/repair.md --checkpoint resnet20.pth --data DIR

on two shared cores without a GPU. *lstsq* and *bn* are `--repair`, with 512 or 32 images of the training set,
or with 32 inputs of noise (no data at all), which the tool moves to the statistics that the norms remember.
What is written is the candidate nearest to the dense one on inputs kept apart. *torch-pruning* is its network
of at least the same speedup, as it leaves it and with batch norm statistics from 512 images
(`benchmarks/repair_peer.py`); it has no scheme *protected*.

An earlier network, trained for 4 epochs on values from 0 to 1 (91.63% dense), lost 1.16 points at 2x, 5.42 at
4x and 10.39 at 8x with 512 images, before the ends of branches were solved for their sums."""
FIRST = "weight decay 5e-4, 10 epochs (all tables by criterion)"
BESIDE = """## The same network from other trainings

What a cut costs is also a matter of the training that came before it. Points below dense for magnitude-l2
at its best scheme, as cut and after repair; the training is that of the network above but for what is named
(`benchmarks/repair.py` has the commands). *Noise as drawn*: measured before
the tool moved it."""
COLUMNS = (*WAYS, *PEER_WAYS)
NAMES = [method if images is None else f"{method}, {images or 'noise'}" for method, images in COLUMNS]
HEADER = "| speedup | scheme | " + " | ".join(NAMES) + " |\n" + "|" + "---|" * (len(NAMES) + 2)


def row(found: Mapping[tuple[object, ...], Cell], criterion: str, scheme: str, speedup: float) -> str:
    at = [found.get((criterion, scheme, speedup, *way)) for way in COLUMNS]
    if not any(at):
        return ""
    shown = ["" if cell is None else f"{cell.accuracy:.2%}" for cell in at]
    return f"| {speedup:g}x | {scheme} | " + " | ".join(shown) + " |"


def beside(networks: Sequence[tuple[str, float, Path]]) -> str:
    heads = [f"{speedup:g}x, {way}" for speedup in SPEEDUPS for way in ("none", "512", "32", "noise")]
    lines = ["| training | dense | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 2)]
    for name, dense, results in networks:
        found = {cell.key: cell for cell in cells(results)}
        lost = [
            best(found, speedup, method, images)
            for speedup in SPEEDUPS
            for method, images in (("none", None), ("lstsq", 512), ("lstsq", 32), ("lstsq", 0))
        ]
        shown = ["" if cell is None else f"{100 * (dense - cell.accuracy):.2f}" for cell in lost]
        lines.append(f"| {name} | {dense:.2%} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def best(
    found: Mapping[tuple[object, ...], Cell], speedup: float, method: str, images: int | None
) -> Cell | None:
    """Of the schemes of magnitude-l2."""
    alike = [found.get(("magnitude-l2", scheme, speedup, method, images)) for scheme in SCHEMES]
    return max((cell for cell in alike if cell is not None), key=lambda cell: cell.accuracy, default=None)


def wanted(found: Mapping[tuple[object, ...], Cell], dense: float) -> str:
    lines = []
    for (speedup, images), points in WANTED.items():
        cell = best(found, speedup, "lstsq", images)
        on = f"{images} images" if images else "noise, 32 inputs"
        if cell is None:
            lines.append(f"- {speedup:g}x, {on}: not measured")
            continue
        lost = 100 * (dense - cell.accuracy)
        verdict = "reached" if lost <= points else "not reached"
        lines.append(
            f"- {speedup:g}x, {on}: {lost:.2f} points below dense ({cell.scheme}), "
            f"wanted at most {points:g}: {verdict}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data", type=Path)
    training.add_argument("-o", "--output", type=Path, required=True)
    training.add_argument("--epochs", type=int, default=8)
    training.add_argument("--decay", type=float, default=Recipe.decay)
    measuring = commands.add_parser("measure")
    measuring.add_argument("checkpoint", type=Path)
    measuring.add_argument("data", type=Path)
    measuring.add_argument("--results", type=Path, required=True)
    measuring.add_argument("--criterion", choices=CRITERIA, action="append")
    beside = commands.add_parser("peer")
    beside.add_argument("checkpoint", type=Path)
    beside.add_argument("data", type=Path)
    beside.add_argument("--results", type=Path, required=True)
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    writing.add_argument("--checkpoint", required=True, help="or the accuracy that it was found to have")
    writing.add_argument("--data", type=Path, required=True)
    writing.add_argument("--beside", nargs=3, action="append", metavar=("NAME", "CHECKPOINT", "RESULTS"))
    writing.add_argument("--draws", type=Path, help="results of repair_draws.py")
    writing.add_argument("--distilled", type=Path, help="results of repair_distilled.py")
    given = parser.parse_args()
    if given.command == "train":
        train(given.data, given.output, Recipe(given.epochs, decay=given.decay))
    elif given.command == "measure":
        measure(given.checkpoint, given.data, given.results, given.criterion or CRITERIA)
    elif given.command == "peer":
        measure_peer(given.checkpoint, given.data, given.results)
    else:
        dense = dense_accuracy(given.checkpoint, given.data)
        others = [
            (name, dense_accuracy(network, given.data), Path(results))
            for name, network, results in given.beside or ()
        ]
        given.page.write_text(
            page(given.results, dense, others, given.draws, given.distilled), encoding="utf-8"
        )


def dense_accuracy(checkpoint: str, folder: Path) -> float:
    """Of a checkpoint, or the number itself where that is known."""
    try:
        return float(checkpoint)
    except ValueError:
        pass
    found = prunecli.evaluate(
        checkpoint, data=f"torchvision:FashionMNIST:{folder}", transform=TRANSFORM, **NETWORK
    )
    return found.quality.top1 or 0.0


if __name__ == "__main__":
    main()

"""All criteria on real data: a ResNet-20 on Fashion-MNIST at 14 x 14, cut, repaired, and finetuned.

    export FASHION_MNIST=DIR
    python benchmarks/criteria_accuracy.py train resnet20-14.pth
    python benchmarks/criteria_accuracy.py measure resnet20-14.pth --results criteria_accuracy.jsonl --jobs 2
    python benchmarks/criteria_accuracy.py page criteria_accuracy.jsonl docs/criteria-accuracy.md

DIR holds Fashion-MNIST's four idx.gz files, as Debian's package dataset-fashion-mnist installs them; without
the variable they are looked for where that package puts them. ``measure`` goes on where it stopped, and skips
what it has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from criteria_accuracy_page import CRITERIA, ROUNDS, SCHEMES, SPEEDUPS, Cell, Key, cells, page
from fashion import ARCH, FOLDER, SIDE, Recipe, accuracy, finetune, pictures, train
from torch import Tensor, nn

import prunecli
from prunecli.networks import resolve

SMALL = SIDE // 2
TRAINING = Recipe(10, side=SMALL)
FINETUNING = Recipe(1, batch=128, rate=0.01, side=SMALL)
NETWORK: dict[str, Any] = {
    "arch": ARCH, "arch_args": {"in_channels": 1}, "inputs": (f"1,{SMALL},{SMALL}",),
}  # fmt: skip
DATA: dict[str, Any] = {
    "data": f"{Path(__file__).with_name('fashion.py')}:small_train", "samples": 512,
}  # fmt: skip
NEEDS_NO_DATA = ("random", "magnitude-l1", "magnitude-l2", "bn-scale", "lamp", "fpgm")


def keys() -> Iterator[Key]:
    """The dense network, then the scheme that is the default; the cheapest networks come last."""
    yield Key("dense", 1.0, "", 1.0, 1)
    for scheme in SCHEMES:
        for speedup in SPEEDUPS:
            for criterion, temperature in CRITERIA:
                yield Key(criterion, temperature, scheme, speedup, 1)
        for criterion, temperature in ROUNDS if scheme == SCHEMES[0] else ():
            for speedup in SPEEDUPS:
                yield Key(criterion, temperature, scheme, speedup, 5)


@cache
def images_of(part: str) -> tuple[Tensor, Tensor]:
    return pictures(Path(os.environ.get("FASHION_MNIST", FOLDER)), part, SMALL)


def measure(checkpoint: Path, results: Path, jobs: int, chosen: str | None) -> None:
    """One row per cell, in ``jobs`` processes of one thread each."""
    known = {cell.key for cell in cells(results)}
    todo = [key for key in keys() if key not in known and (chosen is None or key.scheme in ("", chosen))]
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        waiting = [pool.submit(one, checkpoint, results, key) for key in todo]
        for future in as_completed(waiting):
            cell = future.result()
            with results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            print(cell, flush=True)


def one(checkpoint: Path, results: Path, key: Key) -> Cell:
    """A plan that was measured under another name, as a global scheme whose floor holds anyway, is not
    measured again.
    """
    if key.criterion == "dense":
        return measured(Cell(key, "", 1.0, 1.0, 0.0), dense(checkpoint), dense(checkpoint))
    scored = {} if key.criterion in NEEDS_NO_DATA else DATA
    if key.criterion.startswith("grasp"):
        scored = {**scored, "temperature": key.temperature}
    cut = prunecli.prune(
        checkpoint, **NETWORK, **scored, criterion=key.criterion, scheme=key.scheme, speedup=key.speedup,
        steps=key.steps, repair="none", threads=1,
    )  # fmt: skip
    report = cut.report
    seconds = report.timings["score, select, cut"]
    digest = hashlib.sha256(json.dumps(cut.plan.to_json()).encode()).hexdigest()[:16]
    kept = report.after.params / report.before.params
    cell = Cell(key, digest, kept, report.before.macs / report.after.macs, seconds)
    same = next((row for row in cells(results) if row.plan == digest), None)
    if same is not None:
        return replace(cell, cut=same.cut, repaired=same.repaired, finetuned=same.finetuned, twin=True)
    repaired = prunecli.prune(checkpoint, **NETWORK, **DATA, plan=cut.plan, repair="lstsq", threads=1)
    return measured(cell, cut.model, repaired.model)


def measured(cell: Cell, cut: nn.Module, repaired: nn.Module) -> Cell:
    """With its three accuracies; finetunes ``repaired`` in place."""
    test = images_of("t10k")
    before, mended = accuracy(cut, *test), accuracy(repaired, *test)
    finetune(repaired, *images_of("train"), FINETUNING)
    return replace(cell, cut=before, repaired=mended, finetuned=accuracy(repaired, *test))


def dense(checkpoint: Path) -> nn.Module:
    tensors = torch.load(checkpoint, weights_only=True)
    return resolve(tensors, arch=ARCH, arguments=NETWORK["arch_args"]).module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("checkpoint", type=Path)
    measuring = commands.add_parser("measure")
    measuring.add_argument("checkpoint", type=Path)
    measuring.add_argument("--results", type=Path, required=True)
    measuring.add_argument("--jobs", type=int, default=1)
    measuring.add_argument("--scheme", choices=SCHEMES, help="only this one")
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        train(Path(os.environ.get("FASHION_MNIST", FOLDER)), given.checkpoint, TRAINING)
    elif given.command == "measure":
        measure(given.checkpoint, given.results, given.jobs, given.scheme)
    else:
        given.page.write_text(page(given.results), encoding="utf-8")


if __name__ == "__main__":
    main()

"""All criteria on real data: a ResNet-20 on Fashion-MNIST at 14 x 14, cut, repaired, and finetuned.

    export FASHION_MNIST=DIR
    python benchmarks/criteria_accuracy.py train resnet20-14.pth
    python benchmarks/criteria_accuracy.py measure resnet20-14.pth NETWORKS --results criteria_accuracy.jsonl
    python benchmarks/criteria_accuracy.py finetune NETWORKS --results criteria_accuracy.jsonl
    python benchmarks/criteria_accuracy.py page criteria_accuracy.jsonl docs/criteria-accuracy.md

DIR holds Fashion-MNIST's four idx.gz files, as Debian's package dataset-fashion-mnist installs them; without
the variable they are looked for where that package puts them. The folder NETWORKS gets what is to be
finetuned. ``measure`` and ``finetune`` go on where they stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from criteria_accuracy_page import (
    CRITERIA,
    ROUNDS,
    SCHEMES,
    SPEEDUPS,
    Cell,
    Key,
    Tuned,
    cells,
    finetuned,
    page,
)
from fashion import ARCH, FOLDER, SIDE, Recipe, accuracy, finetune, pictures, train
from torch import Tensor, nn

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, open_data
from prunecli.networks import resolve

SMALL = SIDE // 2
TRAINING = Recipe(10, side=SMALL)
FINETUNING = Recipe(1, batch=128, rate=0.01, side=SMALL)
NETWORK: dict[str, Any] = {
    "arch": ARCH, "arch_args": {"in_channels": 1}, "inputs": (f"1,{SMALL},{SMALL}",),
}  # fmt: skip
DATA = f"{Path(__file__).with_name('fashion.py')}:small_train"
SAMPLES = 512
NEEDS_NO_DATA = ("random", "magnitude-l1", "magnitude-l2", "bn-scale", "lamp", "fpgm")


def keys() -> Iterator[Key]:
    """The scheme that is the default comes first."""
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


@cache
def calibration() -> Samples:
    """Read once in every process."""
    return open_data(DATA, (InputSpec(None, "float32", (1, 1, SMALL, SMALL)),), samples=SAMPLES, seed=0)


def each(
    work: Callable[..., Cell | Tuned], todo: Iterable[Sequence[object]], results: Path, jobs: int
) -> None:
    """``work`` on all in ``jobs`` processes of one thread each; a row in ``results`` once it is made."""
    with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(work, *given) for given in todo]):
            row = future.result()
            with results.open("a") as file:
                file.write(json.dumps({type(row).__name__.lower(): asdict(row)}) + "\n")
            print(row, flush=True)


def one(checkpoint: Path, networks: Path, results: Path, key: Key) -> Cell:
    """Cut and repaired. A plan that was measured under another name, as a global scheme's whose floor holds
    anyway, is not measured again.
    """
    if key.criterion == "dense":
        network = dense(checkpoint)
        reached = accuracy(network, *images_of("t10k"))
        torch.save(network.state_dict(), networks / "dense.pt")
        return Cell(key, "dense", 1.0, 1.0, 0.0, reached, reached)
    options: dict[str, Any] = {"criterion": key.criterion, "scheme": key.scheme, "steps": key.steps}
    if key.criterion not in NEEDS_NO_DATA:
        options |= {"data": calibration(), "temperature": key.temperature}
    cut = prunecli.prune(checkpoint, **NETWORK, **options, speedup=key.speedup, repair="none", threads=1)
    before, after = cut.report.before, cut.report.after
    digest = hashlib.sha256(json.dumps(cut.plan.to_json()).encode()).hexdigest()[:16]
    seconds = cut.report.timings["score, select, cut"]
    cell = Cell(key, digest, after.params / before.params, before.macs / after.macs, seconds)
    same = next((row for row in cells(results) if row.plan == digest), None)
    if same is not None:
        return replace(cell, cut=same.cut, repaired=same.repaired)
    repaired = prunecli.prune(checkpoint, **NETWORK, data=calibration(), plan=cut.plan, threads=1)
    repaired.save(networks / f"{digest}.safetensors", force=True)
    test = images_of("t10k")
    return replace(cell, cut=accuracy(cut.model, *test), repaired=accuracy(repaired.model, *test))


def tuned(networks: Path, plan: str) -> Tuned:
    network = (
        dense(networks / "dense.pt") if plan == "dense" else prunecli.load(networks / f"{plan}.safetensors")
    )
    finetune(network, *images_of("train"), FINETUNING)
    return Tuned(plan, accuracy(network, *images_of("t10k")))


def dense(checkpoint: Path) -> nn.Module:
    tensors = torch.load(checkpoint, weights_only=True)
    return resolve(tensors, arch=ARCH, arguments=NETWORK["arch_args"]).module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("checkpoint", type=Path)
    measuring, tuning = commands.add_parser("measure"), commands.add_parser("finetune")
    measuring.add_argument("checkpoint", type=Path)
    for command in (measuring, tuning):
        command.add_argument("networks", type=Path)
        command.add_argument("--results", type=Path, required=True)
        command.add_argument("--jobs", type=int, default=2)
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        train(Path(os.environ.get("FASHION_MNIST", FOLDER)), given.checkpoint, TRAINING)
    elif given.command == "measure":
        given.networks.mkdir(exist_ok=True)
        known = {cell.key for cell in cells(given.results)}
        todo = [key for key in keys() if key not in known]
        fixed = (given.checkpoint, given.networks, given.results)
        each(one, [(*fixed, key) for key in todo], given.results, given.jobs)
    elif given.command == "finetune":
        plans = dict.fromkeys(cell.plan for cell in cells(given.results))
        left = [plan for plan in plans if plan not in finetuned(given.results)]
        each(tuned, [(given.networks, plan) for plan in left], given.results, given.jobs)
    else:
        given.page.write_text(page(given.results), encoding="utf-8")


if __name__ == "__main__":
    main()

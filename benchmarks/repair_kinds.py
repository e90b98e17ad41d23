"""What repair does to networks that are no plain ResNets.

    python benchmarks/repair_kinds.py train DIR FOLDER
    python benchmarks/repair_kinds.py trained DIR FOLDER --results kinds.jsonl
    python benchmarks/repair_kinds.py random --results kinds.jsonl
    python benchmarks/repair_kinds.py page kinds.jsonl docs/repair-kinds.md

DIR holds Fashion-MNIST's four idx.gz files, as Debian's package dataset-fashion-mnist installs them; FOLDER
gets the checkpoints of the two small networks that ``train`` makes. ``trained`` measures their accuracy,
``random`` the output error of torchvision networks with random weights; both go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from fashion import accuracy, calibration, pictures
from repair_kinds_page import (
    CASES,
    FRESH,
    RANDOM_SPEEDUPS,
    SIDE,
    TRAINED_SPEEDUPS,
    WAYS,
    Random,
    Trained,
    page,
    random_in,
    trained_in,
)
from repair_small import SMALL, loaded, train
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, noise
from prunecli.quality import measure

EPOCHS = {"vit": 6, "mixer": 7}
CUT: dict[str, Any] = {"criterion": "magnitude-l2", "scheme": "local", "repair": "none"}
INPUT = InputSpec(None, "float32", (1, 3, SIDE, SIDE))
STATISTICS_SEED, FRESH_SEED = 1, 2
"""Noise that sets the running statistics, and noise that neither these nor the repair have seen."""


def small_vit() -> nn.Module:
    """torchvision's class in the size of a ViT-S. Its head is made with zero weights: they are drawn."""
    network = models.VisionTransformer(SIDE, 16, num_layers=12, num_heads=6, hidden_dim=384, mlp_dim=1536)
    nn.init.trunc_normal_(network.heads.head.weight, std=0.02)
    return network


def convnext() -> nn.Module:
    """With branches at full strength; a new one has them at a millionth and computes next to nothing."""
    return models.convnext_tiny(weights=None, layer_scale=1.0)


RANDOM: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": models.mobilenet_v2,
    "mobilenet_v3_large": models.mobilenet_v3_large,
    "densenet121": models.densenet121,
    "resnext50_32x4d": models.resnext50_32x4d,
    "convnext_tiny": convnext,
    "swin_t": models.swin_t,
    "ViT-S/16": small_vit,
}


def write(results: Path, kind: str, cell: Trained | Random) -> None:
    with results.open("a") as file:
        file.write(json.dumps({kind: asdict(cell)}) + "\n")
    print(cell, flush=True)


def measure_trained(data: Path, folder: Path, results: Path) -> None:
    test = pictures(data, "t10k")
    known = trained_in(results)
    for name, (network, more) in CASES.items():
        dense = loaded(network, folder / f"{network}.pth")
        if (name, 1.0, None) not in known:
            write(results, "trained", Trained(name, 1.0, None, right(dense, test)))
        for speedup in TRAINED_SPEEDUPS:
            todo = [images for images in (None, *WAYS) if (name, speedup, images) not in known]
            if not todo:
                continue
            cut = prunecli.prune(dense, inputs=("1,28,28",), speedup=speedup, **CUT, **more)
            for images in todo:
                write(results, "trained", accuracy_after(name, speedup, dense, cut, images, data, test))


def accuracy_after(
    name: str,
    speedup: float,
    dense: nn.Module,
    cut: prunecli.Result,
    images: int | None,
    data: Path,
    test: tuple[Tensor, Tensor],
) -> Trained:
    if images is None:
        return Trained(name, speedup, None, right(cut.model, test))
    source = calibration(data, images)
    result = prunecli.prune(dense, inputs=("1,28,28",), plan=cut.plan, repair="lstsq", **source)
    facts = result.report.repair
    assert facts is not None
    took = result.report.timings.get("repair", 0.0)
    note = next((note for note in result.report.notes if note.startswith("not repaired")), "")
    reached = right(result.model, test)
    return Trained(name, speedup, images, reached, facts.applied, {**facts.errors}, took, note)


def right(network: nn.Module, test: tuple[Tensor, Tensor]) -> float:
    found = accuracy(network, *test)
    network.eval()
    return found


def measure_random(results: Path) -> None:
    known = random_in(results)
    for name, build in RANDOM.items():
        todo = [speedup for speedup in RANDOM_SPEEDUPS if (name, speedup) not in known]
        if not todo:
            continue
        torch.manual_seed(0)
        dense = build().eval()
        remember(dense, noise((INPUT,), samples=128, seed=STATISTICS_SEED))
        for speedup in todo:
            write(results, "random", error_after(name, dense, speedup))


@torch.no_grad()
def remember(network: nn.Module, samples: Samples) -> None:
    """Set the running statistics of batch norms to the mean over batches of ``samples``."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train().momentum = None
    for batch in samples.chunks(32) if norms else ():
        batch.inputs.run(network)
    for norm, momentum in zip(norms, before, strict=True):
        norm.eval().momentum = momentum


def error_after(name: str, dense: nn.Module, speedup: float) -> Random:
    size = f"3,{SIDE},{SIDE}"
    cut = prunecli.prune(dense, inputs=(size,), speedup=speedup, **CUT)
    began = perf_counter()
    result = prunecli.prune(dense, inputs=(size,), plan=cut.plan, repair="lstsq")
    facts = result.report.repair
    assert facts is not None
    fresh = noise((INPUT,), samples=FRESH, seed=FRESH_SEED)
    found = measure({"cut": cut.model, "written": result.model}, fresh, against=dense, batch_size=32)
    return Random(
        name, speedup, {**facts.errors}, facts.applied,
        sum(bool(row.method) for row in facts.operations), len(facts.operations),
        result.report.timings.get("repair", perf_counter() - began), constant(dense, fresh),
        (found["cut"].error or 0.0, found["written"].error or 0.0),
        tuple(note for note in result.report.notes if note.startswith(("repair:", "not repaired"))),
    )  # fmt: skip


@torch.no_grad()
def constant(dense: nn.Module, samples: Samples) -> float:
    """Relative error of an answer that is the mean of all outputs, whatever the input."""
    found = torch.cat([batch.inputs.run(dense) for batch in samples.chunks(32)]).double()
    return float((found - found.mean(0)).norm() / found.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "trained"):
        command = commands.add_parser(name)
        command.add_argument("data", type=Path)
        command.add_argument("folder", type=Path)
    for name in ("trained", "random"):
        command = commands.choices[name] if name in commands.choices else commands.add_parser(name)
        command.add_argument("--results", type=Path, required=True)
    writing = commands.add_parser("page")
    writing.add_argument("results", type=Path)
    writing.add_argument("page", type=Path)
    given = parser.parse_args()
    if given.command == "train":
        given.folder.mkdir(parents=True, exist_ok=True)
        for name in SMALL:
            train(name, given.data, given.folder / f"{name}.pth", EPOCHS[name])
    elif given.command == "trained":
        measure_trained(given.data, given.folder, given.results)
    elif given.command == "random":
        measure_random(given.results)
    else:
        given.page.write_text(page(given.results), encoding="utf-8")


if __name__ == "__main__":
    main()

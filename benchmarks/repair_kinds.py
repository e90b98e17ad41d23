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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from repair_small import SMALL, loaded, train
from repair_train import TRANSFORM, accuracy, pictures
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

import prunecli
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, noise
from prunecli.quality import measure

EPOCHS = {"vit": 6, "mixer": 7}
CUT: dict[str, Any] = {"criterion": "magnitude-l2", "scheme": "local", "repair": "none"}
TRAINED_SPEEDUPS, RANDOM_SPEEDUPS = (1.5, 2.0, 4.0), (1.5, 2.0)
WAYS = (512, 32, 0)
"""Images for least squares, 0 for 32 inputs of noise."""
SIDE = 96
INPUT = InputSpec(None, "float32", (1, 3, SIDE, SIDE))
STATISTICS_SEED, FRESH_SEED, FRESH = 1, 2, 64
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


@dataclass(frozen=True)
class Trained:
    """Accuracy of one network on the 10,000 test images. ``images`` is None for the network as it was cut,
    and with speedup 1 for the dense one; ``written``: the candidate that the tool chose.
    """

    network: str
    speedup: float
    images: int | None
    accuracy: float
    written: str = "none"
    errors: dict[str, float] | None = None
    seconds: float = 0.0

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


def write(results: Path, kind: str, cell: Trained | Random) -> None:
    with results.open("a") as file:
        file.write(json.dumps({kind: asdict(cell)}) + "\n")
    print(cell, flush=True)


def measure_trained(data: Path, folder: Path, results: Path) -> None:
    test = pictures(data, "t10k")
    known = trained_in(results)
    for name in SMALL:
        dense = loaded(name, folder / f"{name}.pth")
        if (name, 1.0, None) not in known:
            write(results, "trained", Trained(name, 1.0, None, right(dense, test)))
        for speedup in TRAINED_SPEEDUPS:
            todo = [images for images in (None, *WAYS) if (name, speedup, images) not in known]
            if not todo:
                continue
            cut = prunecli.prune(dense, inputs=("1,28,28",), speedup=speedup, **CUT)
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
    source: dict[str, Any] = {}
    if images:
        source = {"data": f"torchvision:FashionMNIST:{data}", "transform": TRANSFORM, "samples": images}
    result = prunecli.prune(dense, inputs=("1,28,28",), plan=cut.plan, repair="lstsq", **source)
    facts = result.report.repair
    assert facts is not None
    took = result.report.timings.get("repair", 0.0)
    return Trained(name, speedup, images, right(result.model, test), facts.applied, {**facts.errors}, took)


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


def page(results: Path) -> str:
    trained, random = trained_in(results), random_in(results)
    parts = [
        HEAD, "## Trained networks", TRAINED, trained_table(trained), no_better(trained),
        "## Random weights", RANDOM_TEXT, random_table(random), verdict(list(random.values())),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


HEAD = """# Repair of other networks, as measured

[repair.md](repair.md) measures a ResNet. Here are networks without convolutions that were trained, and
networks of torchvision with random weights. All are cut with `--criterion magnitude-l2 --scheme local`, and
repaired without labels and without training. Made by

    python benchmarks/repair_kinds.py train DIR FOLDER
    python benchmarks/repair_kinds.py trained DIR FOLDER --results kinds.jsonl
    python benchmarks/repair_kinds.py random --results kinds.jsonl
    python benchmarks/repair_kinds.py page kinds.jsonl docs/repair-kinds.md

on one of two shared cores without a GPU."""

TRAINED = """A ViT and an MLP-mixer (`benchmarks/repair_small.py`; width 64, 4 blocks, patches of 7 x 7),
trained on Fashion-MNIST for a few minutes. Every figure is the share of the 10,000 test images that is right.
*lstsq* is `--repair lstsq` with 512 or 32 images of the training set, or with 32 inputs of noise (no data at
all). Their norms are layer norms, which remember nothing, so there is no `--repair bn` to be measured.
*(cut)*: the tool found nothing nearer to the dense network than the cut, and left it as it was."""

RANDOM_TEXT = f"""These have no accuracy that would mean anything: only the relative error of their outputs is
shown, of every candidate on the inputs that the tool keeps apart (4 of its default 32 inputs of noise,
3 x {SIDE} x {SIDE}), with the default limit of 60 s. **Bold** is what was written. The running statistics of
batch norms were first set by passes over 128 other inputs of noise.

*constant* is the error of an answer that is always the mean of the dense outputs, whatever the input: a
repair that is no better has only got the mean right. *other noise*: errors of the cut and of what was
written on {FRESH} more inputs, where *constant* is measured too. Seconds are those of the repair.

ConvNeXt's layer scales are 1 (a new one has 1e-6, and its branches do nothing); the ViT has the size of a
ViT-S and a head of random weights (a new one has zeros). Trained networks behave differently."""


def trained_table(found: dict[tuple[str, float, int | None], Trained]) -> str:
    heads = ["network", "speedup", "dense", "cut", *(f"lstsq, {images or 'noise'}" for images in WAYS)]
    lines = [header(heads)]
    for name in SMALL:
        for speedup in TRAINED_SPEEDUPS:
            keys = [(name, 1.0, None), *((name, speedup, images) for images in (None, *WAYS))]
            lines.append(line([name, f"{speedup:g}x", *(share(found.get(key)) for key in keys)]))
    return "\n".join(lines)


def share(cell: Trained | None) -> str:
    if cell is None:
        return ""
    return f"{cell.accuracy:.2%}" + (" (cut)" if cell.images is not None and cell.written == "none" else "")


def no_better(found: dict[tuple[str, float, int | None], Trained]) -> str:
    """Which repairs have not gained a point of accuracy."""
    losers = []
    for cell in found.values():
        cut = found.get((cell.network, cell.speedup, None))
        if cell.images is not None and cut is not None and cell.accuracy - cut.accuracy < 0.01:
            on = f"{cell.images} images" if cell.images else "noise"
            gained = 100 * (cell.accuracy - cut.accuracy)
            losers.append(f"{cell.network} {cell.speedup:g}x on {on} ({gained:+.2f} points)")
    repairs = sum(cell.images is not None for cell in found.values())
    if not losers:
        return f"All {repairs} repairs are at least a point better than the cut."
    return f"Not a point better than the cut: {len(losers)} of {repairs} repairs: {', '.join(losers)}."


CANDIDATES = ("none", "bn", "lstsq", "lstsq + bn")


def random_table(found: dict[tuple[str, float], Random]) -> str:
    lines = [header(["network", "speedup", *CANDIDATES, "constant", "other noise", "operations", "seconds"])]
    for name in RANDOM:
        for speedup in RANDOM_SPEEDUPS:
            cell = found.get((name, speedup))
            if cell is not None:
                lines.append(line([name, f"{speedup:g}x", *cells(cell)]))
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
    blind = [said(cell) for cell in found if cell.fresh[1] >= cell.constant]
    lines = [
        f"- nothing was better than the cut: {listed(kept)}",
        f"- what was written is worse than the cut on the other noise: {listed(worse)}",
        f"- what was written is no better there than the constant answer: {listed(blind)}",
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

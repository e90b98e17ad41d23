"""What training on the same few images would add to a repair: the bound that ``repair.py`` is read against.

    python benchmarks/repair_distilled.py resnet20.pth DIR --results distilled.jsonl

Each network is cut and repaired on 512 images without labels, as ``repair.py`` does it; then all of its
weights are trained for some hundred steps of Adam towards the dense network's outputs on 512 such images,
without labels either. DIR holds Fashion-MNIST's four idx.gz files. Goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import repair_peer
import torch
from fashion import ARCH, NETWORK, accuracy, calibration, measurement, moved, pictures
from torch import Tensor, nn

import prunecli

IMAGES, BATCH = 512, 64
SPEEDUPS = (2.0, 4.0, 8.0)
SCHEMES = ("protected", "local")


@dataclass(frozen=True)
class Way:
    """``shifted``: whether the images are mirrored and moved anew at each step."""

    steps: int
    rate: float
    shifted: bool


WAYS = (Way(140, 3e-4, False), Way(280, 1e-3, True))


@dataclass(frozen=True)
class Distilled:
    """``accuracy``: shares of the 10,000 test images after the repair and after the training behind it."""

    scheme: str
    speedup: float
    way: Way
    repaired: float
    accuracy: float

    @property
    def key(self) -> tuple[object, ...]:
        return self.scheme, self.speedup, self.way


def read(results: Path) -> list[Distilled]:
    if not results.exists():
        return []
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return [Distilled(**{**row, "way": Way(**row["way"])}) for row in rows]


def distilled(network: nn.Module, dense: nn.Module, images: Tensor, way: Way) -> nn.Module:
    """A copy of ``network``, trained on ``images`` ``[N, C, H, W]`` for the squared error of its outputs.
    Norms keep their statistics.
    """
    network = deepcopy(network).eval().requires_grad_(True)
    optimizer = torch.optim.Adam(network.parameters(), lr=way.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, way.steps)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        scale = dense(images).square().mean()
    places = torch.cat([
        torch.randperm(len(images), generator=generator) for _ in range(-(-way.steps * BATCH // len(images)))
    ])  # fmt: skip
    for chosen in places.split(BATCH)[: way.steps]:
        some = moved(images[chosen], generator) if way.shifted else images[chosen]
        with torch.no_grad():
            wanted = dense(some)
        loss = (network(some) - wanted).square().mean() / scale
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.requires_grad_(False)


def measure(checkpoint: Path, folder: Path, results: Path) -> None:
    test, (images, _) = pictures(folder, "t10k"), pictures(folder, "train")
    images = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]]
    dense = repair_peer.dense(checkpoint, ARCH, NETWORK["arch_args"])
    data = calibration(folder, IMAGES)
    known = {found.key for found in read(results)}
    for speedup in SPEEDUPS:
        for scheme in SCHEMES:
            todo = [way for way in WAYS if (scheme, speedup, way) not in known]
            if not todo:
                continue
            network = prunecli.prune(checkpoint, **NETWORK, speedup=speedup, scheme=scheme, **data).model
            for way in todo:
                trained = accuracy(distilled(network, dense, images, way), *test)
                found = Distilled(scheme, speedup, way, accuracy(network, *test), trained)
                with results.open("a") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
                print(found, flush=True)


INTRODUCTION = """## What training on the same images would add

The repaired networks (magnitude-l2, 512 images) trained on, end to end, towards the dense network's outputs
on 512 images of the training set, without labels (`benchmarks/repair_distilled.py`): what is left to gain
from so few images, at several times the seconds. *moved*: mirrored and shifted anew at each step."""


def section(found: Sequence[Distilled], dense: float) -> str:
    names = [f"Adam, {way.steps} steps{', moved' if way.shifted else ''}" for way in WAYS]
    lines = [
        "| speedup | scheme | repaired | " + " | ".join(names) + " | points below dense, best |",
        "|" + "---|" * (4 + len(WAYS)),
    ]
    known = {each.key: each for each in found}
    for speedup in SPEEDUPS:
        for scheme in SCHEMES:
            row = [known[scheme, speedup, way] for way in WAYS]
            best = max(row[0].repaired, *(each.accuracy for each in row))
            shown = [f"{row[0].repaired:.2%}", *(f"{each.accuracy:.2%}" for each in row)]
            lines.append(f"| {speedup:g}x | {scheme} | {' | '.join(shown)} | {100 * (dense - best):.2f} |")
    return f"{INTRODUCTION}\n\n" + "\n".join(lines)


if __name__ == "__main__":
    given = measurement(__doc__)
    measure(given.checkpoint, given.data, given.results)

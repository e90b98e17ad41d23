"""Fashion-MNIST, and a ResNet-20 for it: the dense network of ``repair.py`` and ``criteria_accuracy.py``.

At 28 x 28 it sees what ``--data torchvision:FashionMNIST:DIR --transform fashion-mnist`` feeds it later. At
half that size (means of 2 x 2 pixels), which trains faster, its data are
``--data benchmarks/fashion.py:small_train`` and ``:small_test``, with the folder of Fashion-MNIST's four
idx.gz files in the environment variable FASHION_MNIST.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.data.presets import PRESETS
from prunecli.data.sets import read_idx
from prunecli.networks.cifar import REGISTRY

ARCH = "cifar:resnet20"
TRANSFORM = "fashion-mnist"
SIDE = 28
NETWORK: dict[str, Any] = {"arch": ARCH, "arch_args": {"in_channels": 1}, "inputs": (f"1,{SIDE},{SIDE}",)}
"""What ``prunecli.prune`` needs to know of its checkpoint."""
SHIFT = 1 / 14
"""Share of the side by which pictures are moved at most, each way."""
FOLDER = "/usr/share/datasets/fashion-mnist"
"""Where Debian's package dataset-fashion-mnist puts its files."""


def calibration(folder: Path, images: int | None) -> dict[str, Any]:
    """What ``prunecli.prune`` needs to know of its data: ``images`` of the training set, or noise."""
    if not images:
        return {}
    return {"data": f"torchvision:FashionMNIST:{folder}", "transform": TRANSFORM, "samples": images}


@dataclass(frozen=True)
class Recipe:
    """``side``: of the pictures, 28 or a part of it."""

    epochs: int
    batch: int = 256
    rate: float = 0.1
    decay: float = 5e-4
    seed: int = 0
    side: int = SIDE


def pictures(folder: Path, part: str, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """``[N, 1, side, side]`` of mean 0 and, at 28, variance 1, and labels; ``part`` is ``train`` or
    ``t10k``.
    """
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    (mean,), (deviation,) = PRESETS[TRANSFORM].mean, PRESETS[TRANSFORM].deviation
    pixels = torch.tensor(images).unsqueeze(1).float() / 255
    pixels = functional.avg_pool2d(pixels, SIDE // side)
    return (pixels - mean) / deviation, torch.tensor(labels).long()


def small_train() -> Iterator[tuple[Tensor, Tensor]]:
    """For ``--data``: the training set at 14 x 14, shuffled once and for all."""
    images, labels = pictures(_folder(), "train", SIDE // 2)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    for places in order.split(64):
        yield images[places], labels[places]


def small_test() -> Iterator[tuple[Tensor, Tensor]]:
    """For ``--data``: the test set at 14 x 14."""
    images, labels = pictures(_folder(), "t10k", SIDE // 2)
    yield from zip(images.split(500), labels.split(500), strict=True)


def _folder() -> Path:
    return Path(os.environ.get("FASHION_MNIST", FOLDER))


def resnet20() -> nn.Module:
    return REGISTRY[ARCH.partition(":")[2]](num_classes=10, in_channels=1)


def small_vgg() -> nn.Module:
    """Six convolutions with BatchNorm, two at each of three sizes, and one linear layer: for 14 x 14."""
    layers: list[nn.Module] = []
    inputs = 1
    for width in (32, 64, 128):
        for _ in range(2):
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10))


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of them mirrored, all of them shifted by up to ``SHIFT`` of the side."""
    count, _, height, width = images.shape
    most = round(SHIFT * height)
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    padded = functional.pad(images, [most] * 4, value=float(images.min()))
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1), generator=generator)
    rows = (torch.arange(height) + down).view(count, height, 1)
    columns = (torch.arange(width) + right).view(count, 1, width)
    return padded[torch.arange(count).view(count, 1, 1), 0, rows, columns].unsqueeze(1)


def batches(images: Tensor, labels: Tensor, recipe: Recipe, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(recipe.seed * 1000 + epoch)
    order = torch.randperm(len(labels), generator=generator)
    for places in order.split(recipe.batch):
        if len(places) == recipe.batch:
            yield moved(images[places], generator), labels[places]


@torch.no_grad()
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    network.eval()
    right = [
        (network(some).argmax(1) == wanted).sum()
        for some, wanted in zip(images.split(500), labels.split(500), strict=True)
    ]
    network.train()
    return float(sum(right)) / len(labels)


def train(folder: Path, path: Path, recipe: Recipe, build: Callable[[], nn.Module] = resnet20) -> None:
    """SGD with one cycle of the learning rate; the weights are in ``path`` after every epoch."""
    torch.manual_seed(recipe.seed)
    network = build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = pictures(folder, "train", recipe.side)
    test = pictures(folder, "t10k", recipe.side)
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.rate, momentum=0.9, weight_decay=recipe.decay, nesterov=True
    )
    steps = recipe.epochs * (len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    began = perf_counter()
    for epoch in range(recipe.epochs):
        for some, wanted in batches(images, labels, recipe, epoch):
            step(network, some, wanted, optimizer)
            schedule.step()
        torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        reached = accuracy(network, *test)
        print(f"epoch {epoch + 1}: {reached:.4f} on the test set, {perf_counter() - began:.0f} s", flush=True)


def finetune(network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> None:
    """SGD at one learning rate, in place; a recipe's order of pictures is the same for every network."""
    network.to(memory_format=torch.channels_last).requires_grad_(True).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.rate, momentum=0.9, weight_decay=recipe.decay, fused=True
    )
    for epoch in range(recipe.epochs):
        for some, wanted in batches(images, labels, recipe, epoch):
            step(network, some, wanted, optimizer)
    network.eval()


def step(network: nn.Module, images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> None:
    images = images.contiguous(memory_format=torch.channels_last)
    loss = functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measurement(description: str) -> argparse.Namespace:
    """The command line of a script that measures one network: ``CHECKPOINT DATA --results FILE``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    return parser.parse_args()

"""The dense network of ``benchmarks/repair.py``: a ResNet-20 for grey 28 x 28 pictures of Fashion-MNIST.

It sees what ``--data torchvision:FashionMNIST:DIR --transform fashion-mnist`` feeds it later.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.data.presets import PRESETS
from prunecli.data.sets import read_idx
from prunecli.networks.cifar import REGISTRY

ARCH = "cifar:resnet20"
TRANSFORM = "fashion-mnist"
SHIFT = 2
"""Pixels by which pictures are moved at most, each way."""


@dataclass(frozen=True)
class Recipe:
    epochs: int
    batch: int = 256
    rate: float = 0.1
    decay: float = 5e-4
    seed: int = 0


def pictures(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """``[N, 1, 28, 28]`` of mean 0 and variance 1, and labels; ``part`` is ``train`` or ``t10k``."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz", 3)
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
    (mean,), (deviation,) = PRESETS[TRANSFORM].mean, PRESETS[TRANSFORM].deviation
    pixels = torch.tensor(images).unsqueeze(1).float() / 255
    return (pixels - mean) / deviation, torch.tensor(labels).long()


def resnet20() -> nn.Module:
    return REGISTRY[ARCH.partition(":")[2]](num_classes=10, in_channels=1)


def moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Half of them mirrored, all of them shifted by up to ``SHIFT`` pixels."""
    count, _, height, width = images.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    padded = functional.pad(images, [SHIFT] * 4, value=float(images.min()))
    down, right = torch.randint(0, 2 * SHIFT + 1, (2, count, 1), generator=generator)
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


def train(folder: Path, path: Path, recipe: Recipe) -> None:
    """SGD with one cycle of the learning rate; the weights are in ``path`` after every epoch."""
    torch.manual_seed(recipe.seed)
    network = resnet20().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = pictures(folder, "train")
    test = pictures(folder, "t10k")
    optimizer = torch.optim.SGD(
        network.parameters(), recipe.rate, momentum=0.9, weight_decay=recipe.decay, nesterov=True
    )
    steps = recipe.epochs * (len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    began = perf_counter()
    for epoch in range(recipe.epochs):
        for some, wanted in batches(images, labels, recipe, epoch):
            loss = functional.cross_entropy(
                network(some.contiguous(memory_format=torch.channels_last)), wanted
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
        reached = accuracy(network, *test)
        print(f"epoch {epoch + 1}: {reached:.4f} on the test set, {perf_counter() - began:.0f} s", flush=True)

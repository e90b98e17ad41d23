"""What each regularizer adds to a training step of resnet50: full steps with and without it, taking turns.

    python benchmarks/regularizers.py --batch 16 --rounds 10 --write docs/regularizers.md
    python benchmarks/regularizers.py --device cuda --batch 128 --rounds 50

One step is forward, backward, the regularizer, and SGD with momentum, on random images of 224 x 224 in
float32.
``greg-1`` and ``greg-2`` are measured after they have picked, over whole numbers of their ten steps, so that
the look at the magnitudes which they take in one of ten counts for what it is.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from time import perf_counter

import torch
import torchvision
from torch import Tensor, nn

from prunecli.assembly import evaluating
from prunecli.checkpoint.specs import InputSpec
from prunecli.coupling.space import Space
from prunecli.data.samples import Batch
from prunecli.inputs import Inputs
from prunecli.losses import Loss
from prunecli.measuring import traced
from prunecli.regularizers import Regularized, Units, regularizers
from prunecli.report.model import NetworkFacts
from prunecli.subjects import MODULE, Dense
from prunecli.training.hooks import Regularizer
from prunecli.training.objective import Objective
from prunecli.training.optimizing import optimizer_for, scaler_for, schedule_for
from prunecli.training.settings import Settings
from prunecli.training.step import Stepper

EVERY = 10
"""Steps between two looks of greg-1 and greg-2."""


def space_of(network: nn.Module) -> Space:
    specs = (InputSpec(None, "float32", (1, 3, 224, 224)),)
    with evaluating(network):
        return traced(Dense(network, specs, MODULE, {}, None, None, NetworkFacts(None)))


def made(name: str, network: nn.Module, space: Space) -> Regularizer:
    """Half of every group is picked."""
    method = regularizers()[name]
    units = Units(space, network)

    def pick() -> dict[str, Tensor]:
        return {group: torch.arange(each.size) % 2 == 0 for group, each in units.groups.items()}

    given = {"delta-all": 1.0} if name == "greg-2" else {}
    asked = Regularized(units, method.values(given), frozenset(given), 10**6, 1e-4, pick)
    return method.make(asked)


def timed(step: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - began


def measure(batch_size: int, rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of every step, by regularizer; under ``plain`` without one."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    space = space_of(network)
    network.to(device)
    settings = Settings.of({"epochs": 10**4, "lr": 1e-4, "weight_decay": 1e-4})
    optimizer = optimizer_for(network, settings)
    stepper = Stepper(
        network, Objective(Loss("cross-entropy")), settings, device, optimizer,
        schedule_for(optimizer, settings, 10**4), scaler_for(device, settings),
    )  # fmt: skip
    images = torch.randn(batch_size, 3, 224, 224)
    batch = Batch(Inputs((images,)), torch.randint(1000, (batch_size,)))
    chosen: dict[str, Regularizer | None] = {"plain": None}
    chosen |= {name: made(name, network, space) for name in sorted(regularizers())}
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    network.train()

    def one(name: str) -> float:
        stepper.regularizer = chosen[name]
        return timed(lambda: stepper.step(batch), device)

    for name in chosen:
        # The second step of greg-2 is the first after its pick.
        for _warm in range(2 * EVERY if name == "greg-2" and device.type == "cuda" else 1):
            one(name)
    for _round in range(rounds):
        for name in chosen:
            seconds[name].append(one(name))
    return seconds


def alone(rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of the regularizer alone, each over ten of its steps."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50()
    space = space_of(network)
    network.to(device)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    found: dict[str, list[float]] = {}
    for name in sorted(regularizers()):
        regularizer = made(name, network, space)
        for _warm in range(2 * EVERY):
            regularizer.after_backward()

        def ten(each: Regularizer = regularizer) -> None:
            for _step in range(EVERY):
                each.after_backward()

        found[name] = [timed(ten, device) / EVERY for _round in range(rounds)]
    return found


Times = dict[str, list[float]]


def page(batch_size: int, steps: Times, by_itself: Times, where: str) -> str:
    plain, rounds = median(steps["plain"]), len(steps["plain"])
    lines = [
        "# What regularizers cost", "",
        f"    python benchmarks/regularizers.py --batch {batch_size} --rounds {rounds}", "",
        f"A training step of resnet50 on {batch_size} images of 224 x 224 in float32 takes {plain:.3g} s",
        f"without one ({where}).", "",
        "| regularizer | step with it / without, median of pairs | by itself, ms | its share of a step |",
        "|---|---|---|---|",
    ]  # fmt: skip
    for name, seconds in by_itself.items():
        pairs = [a / b for a, b in zip(steps[name], steps["plain"], strict=True)]
        own = mean(seconds)
        lines.append(f"| {name} | {median(pairs):.3f} | {1e3 * own:.1f} | {own / plain:.2%} |")
    lines += [
        "", "By itself: the mean over whole numbers of ten steps, since `greg-1` and `greg-2` look at the",
        "magnitudes in one of ten. It does not grow with the batch; its share falls as a step gets longer.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    device = torch.device(given.device)
    steps = measure(given.batch, given.rounds, device)
    by_itself = alone(given.rounds, device)
    name = (
        torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or platform.machine()
    )
    where = f"{name}, {os.cpu_count()} cores, torch {torch.__version__}"
    text = page(given.batch, steps, by_itself, where)
    print(text)
    if given.write is not None:
        given.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

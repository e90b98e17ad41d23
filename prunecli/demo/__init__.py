"""``prune demo``: a real small network on real data, cut, measured before and after; no downloads.

The checkpoint is a CIFAR resnet8 with one input channel, trained by ``prunecli.demo.train`` on the training
images of ``prunecli.demo.data``. Where the cut hurts it is repaired on those, without their labels;
accuracies are of the 360 test images, in percent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from prunecli.demo.data import digits
from prunecli.networks.cifar import REGISTRY
from prunecli.report.model import Report

CHECKPOINT = "digits_resnet8.safetensors"
ARCH = "cifar:resnet8"
ARGUMENTS = {"in_channels": 1}
INPUT = "1,8,8"


@dataclass(frozen=True)
class DemoResult:
    """What the demo did. Accuracies in percent of ``images`` test images."""

    report: Report
    accuracy_before: float
    accuracy_after: float
    images: int


def accuracy(module: nn.Module) -> float:
    """Percentage of the test images that ``module`` labels correctly."""
    data = digits(test=True)
    with torch.inference_mode():
        right = module(data.images).argmax(1) == data.labels
    return 100 * int(right.sum()) / len(data.labels)


def dense() -> nn.Module:
    """The shipped network, in eval mode."""
    network = REGISTRY[ARCH.removeprefix("cifar:")](**ARGUMENTS)
    with as_file(files(__package__).joinpath(CHECKPOINT)) as path:
        network.load_state_dict(load_file(path))
    return network.eval()


def run(
    output: Path, *, speedup: float = 2.0, force: bool = False, progress: Callable[[str], None] | None = None
) -> DemoResult:
    """Prune the shipped checkpoint to ``output`` and measure the file that was written.

    Raises what ``prunecli.prune`` and ``Result.save`` raise: ``UsageError`` where ``output`` exists and
    ``force`` is not given, ``ImpossibleError`` where ``speedup`` is out of reach.
    """
    from prunecli.api import prune
    from prunecli.loading import load

    with as_file(files(__package__).joinpath(CHECKPOINT)) as path:
        result = prune(
            path, arch=ARCH, arch_args=ARGUMENTS, inputs=(INPUT,), speedup=speedup, data="digits",
            progress=progress,
        )  # fmt: skip
    report = result.save(output, force=force)
    return DemoResult(
        report=report,
        accuracy_before=accuracy(dense()),
        accuracy_after=accuracy(load(output)),
        images=len(digits(test=True).labels),
    )

"""torch-pruning's networks at the speedups of ``repair.py``: as it leaves them, and with batch norm
statistics taken anew from passes in training mode over calibration images.

The share that is removed is the smallest at which the network has the speedup, by bisection; its own counter
says when. Schemes: ``local`` removes that share of every group, ``global`` ranks all groups together.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch_pruning as tp
from torch import Tensor, nn

from prunecli.checkpoint import read
from prunecli.networks import resolve

IMPORTANCES = {
    "magnitude-l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "bn-scale": lambda: tp.importance.BNScaleImportance(),
    "fpgm": lambda: tp.importance.FPGMImportance(),
    "random": lambda: tp.importance.RandomImportance(),
}
SCHEMES = ("local", "global")
HALVINGS = 12
BATCH = 64


def dense(checkpoint: Path, arch: str, arguments: dict[str, object]) -> nn.Module:
    return resolve(read(checkpoint).tensors, arch=arch, arguments=arguments).module.eval()


def pruned(network: nn.Module, example: Tensor, criterion: str, scheme: str, speedup: float) -> nn.Module:
    """The least pruned network that is at least ``speedup`` times cheaper than ``network``."""
    whole, _ = tp.utils.count_ops_and_params(network, example)
    low, high, best = 0.0, 0.98, None
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        found = _at(network, example, criterion, scheme, ratio)
        cost, _ = tp.utils.count_ops_and_params(found, example)
        if whole / cost >= speedup:
            high, best = ratio, found
        else:
            low = ratio
    if best is None:
        raise ValueError(f"{criterion}, {scheme}: {speedup:g}x is not reached at any ratio")
    return best


def _at(network: nn.Module, example: Tensor, criterion: str, scheme: str, ratio: float) -> nn.Module:
    torch.manual_seed(0)
    small = copy.deepcopy(network).requires_grad_(True)
    outputs = [layer for layer in small.modules() if isinstance(layer, nn.Linear)][-1:]
    pruner = tp.pruner.BasePruner(
        small,
        example,
        IMPORTANCES[criterion](),
        global_pruning=scheme == "global",
        pruning_ratio=ratio,
        max_pruning_ratio=0.98,
        ignored_layers=outputs,
    )
    pruner.step()
    return small.eval().requires_grad_(False)


@torch.no_grad()
def recalibrated(network: nn.Module, images: Tensor) -> nn.Module:
    """A copy whose statistics are the mean over the batches of ``images``."""
    fresh = copy.deepcopy(network)
    for layer in fresh.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    fresh.train()
    for batch in images.split(BATCH):
        fresh(batch)
    return fresh.eval()

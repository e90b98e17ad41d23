"""A small network of a registry with random weights, one that no registry knows, and ways to measure."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn

from prunecli import Result
from prunecli.networks.cifar import REGISTRY

IMAGE = torch.zeros(1, 3, 32, 32)


def resnet8(seed: int = 0) -> nn.Module:
    """Random weights, and statistics that a norm in eval mode can be seen by."""
    torch.manual_seed(seed)
    net = REGISTRY["resnet8"]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def macs(module: nn.Module) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis
    analysis = FlopCountAnalysis(module, IMAGE)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    return int(analysis.total())


def elements(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def removed(result: Result) -> float:
    """Fraction of units removed, over the groups that may be cut."""
    free = {group.name: group.size for group in result.space.groups if group.frozen is None}
    return 1 - sum(result.plan.sizes.get(name, size) for name, size in free.items()) / sum(free.values())


def same_tensors(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[n].dtype == b[n].dtype and torch.equal(a[n], b[n]) for n in a)


class Own(nn.Module):
    """A network that no registry knows, with a width of its own."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu().mean((2, 3)))

"""torch-pruning's importances on all groups of a network, for ``benchmarks/criteria_cost.py``."""

from __future__ import annotations

from collections.abc import Callable

import torch_pruning as tp
from criteria_naive import BATCH
from torch import Tensor, nn
from torch.nn import functional

from prunecli.coupling import Space

PEERS: dict[str, Callable[[], object]] = {
    "magnitude-l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "magnitude-l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "bn-scale": lambda: tp.importance.BNScaleImportance(),
    "lamp": lambda: tp.importance.LAMPImportance(),
    "fpgm": lambda: tp.importance.FPGMImportance(),
    "taylor": lambda: tp.importance.GroupTaylorImportance(),
    "obd-hessian": lambda: tp.importance.GroupHessianImportance(),
}


def work(name: str, net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """Gradients as its documentation takes them, and the importance of every group; its graph is built
    before.
    """
    net.requires_grad_(True)
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=images[:1])
    outputs = [layer for layer in net.modules() if isinstance(layer, nn.Linear)][-1:]
    groups = list(graph.get_all_groups(ignored_layers=outputs, root_module_types=[nn.Conv2d, nn.Linear]))

    def run() -> None:
        importance = PEERS[name]()
        net.zero_grad()
        if name == "taylor":
            _summed(net, images, labels)
        elif name == "obd-hessian":
            _sample_by_sample(net, importance, images, labels)
        for group in groups:
            importance(group)  # type: ignore[operator]

    return run


def _summed(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    for part, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        functional.cross_entropy(net(part), wanted).backward()


def _sample_by_sample(
    net: nn.Module, importance: tp.importance.GroupHessianImportance, images: Tensor, labels: Tensor
) -> None:
    importance.zero_grad()
    for part, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
        for loss in functional.cross_entropy(net(part), wanted, reduction="none"):
            net.zero_grad()
            loss.backward(retain_graph=True)
            importance.accumulate_grad(net)

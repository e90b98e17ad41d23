"""Networks repaired by the sweep alone, and its solutions by ``torch.linalg.lstsq`` on stored activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import prunecli
from prunecli.assembly import all_tensors, rebuilt
from prunecli.inputs import Inputs
from prunecli.repair.operations import Survey
from prunecli.repair.survey import survey
from prunecli.repair.sweep import Sweep
from prunecli.report.figures import OperationRow
from prunecli.running.chunks import one_thread_each

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Swept:
    dense: nn.Module
    cut: nn.Module
    repaired: nn.Module
    result: prunecli.Result
    samples: list[Tensor]
    done: dict[str, OperationRow]


def sweep(net: nn.Module, samples: Tensor, chunk: int, *, plain: bool = False, **options: Any) -> Swept:
    """``plain``: nothing is solved for at the logits."""
    torch.manual_seed(1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.4)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    net = net.double().eval().requires_grad_(False)
    result = prunecli.prune(
        net, example_inputs=samples[:1], ratio=0.4, scheme="local", tolerance=0.9, repair="none"
    )
    tensors = {name: tensor.detach().clone() for name, tensor in all_tensors(result.model).items()}
    small = rebuilt(result.model, tensors).requires_grad_(False)
    chunks = [Inputs((part,)) for part in samples.split(chunk)]
    with one_thread_each(CPU) as parallel:
        found: Survey = survey(small, Inputs((samples[:1],)))
        operations = (found.without("logits") if plain else found).operations
        sweeping = Sweep(net, small, result.space, result.plan.keep, operations, parallel, **options)
        done = sweeping.run(chunks, [index % 4 == 3 for index in range(len(chunks))])
    rows = {row.weight: row for row in done}
    return Swept(net, result.model, small, result, list(samples.split(chunk)), rows)


def seen(net: nn.Module, layer: str, samples: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What goes into ``layer`` and comes out, for all samples."""
    found: list[tuple[Tensor, Tensor]] = []
    handle = net.get_submodule(layer).register_forward_hook(
        lambda _, given, out: found.append((given[0].detach(), out.detach()))
    )
    with torch.no_grad():
        for part in samples:
            net(part)
    handle.remove()
    return torch.cat([x for x, _ in found]), torch.cat([y for _, y in found])


def columns(layer: nn.Module, x: Tensor) -> list[tuple[int, Tensor]]:
    """For every weight of ``layer`` alone: the output channel that it moves, and that channel's values."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    kept, found = weight.detach().clone(), []
    bias, layer.bias = layer.bias, None
    for index in range(weight.numel()):
        with torch.no_grad():
            weight.zero_()
            weight.view(-1)[index] = 1.0
            out = layer(x).movedim(1, -1).flatten(0, -2)
            moved = layer(torch.ones_like(x[:1])).movedim(1, -1).flatten(0, -2)
        channel = int(moved.abs().sum(0).argmax())
        found.append((channel, out[:, channel]))
    layer.bias = bias
    with torch.no_grad():
        weight.copy_(kept)
    return found


def by_lstsq(
    layer: nn.Module, before: Tensor, x: Tensor, y: Tensor, strength: float, constant: bool
) -> Tensor:
    """The solution for every output channel alone, by an augmented least-squares problem."""
    parts = columns(layer, x)
    solved = before.detach().clone().flatten()
    for channel in range(y.shape[1]):
        places = [i for i, (owner, _) in enumerate(parts) if owner == channel]
        design = torch.stack([parts[i][1] for i in places], 1)
        target = y.movedim(1, -1).reshape(-1, y.shape[1])[:, channel]
        if constant:
            design, target = design - design.mean(0), target - target.mean()
        elif layer.bias is not None:
            target = target - layer.bias[channel].detach()
        ridge = strength * design.square().sum() / len(places)
        root = ridge.sqrt() * torch.eye(len(places), dtype=torch.float64)
        start = before.flatten()[places]
        rows = torch.cat([design, root])
        wanted = torch.cat([target, root @ start])
        solved[places] = torch.linalg.lstsq(rows, wanted[:, None]).solution[:, 0]
    return solved.view_as(before)


def convolutions() -> nn.Module:
    """Strides, borders, dilation, groups, transposed with and without; constants in biases and norms."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=(0, 1), groups=2), nn.Tanh(),
        nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 8, 3, stride=2, padding=1, output_padding=1), nn.ReLU(),
        nn.ConvTranspose2d(8, 6, (2, 3), groups=2, dilation=2, bias=False), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 10), nn.ReLU(), nn.Linear(10, 5, bias=False),
    )  # fmt: skip

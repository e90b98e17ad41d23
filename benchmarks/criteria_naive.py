"""The data-driven criteria as one would write them first: sample by sample, channel by channel, with stored
activations. ``benchmarks/criteria_cost.py`` times slices of them.

Letters in shapes: ``n`` units of a group, ``r`` rows (samples x positions x outputs), ``p`` positions, ``o``
outputs of a consumer, ``f`` elements of its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time

import torch
from sklearn.linear_model import lars_path
from torch import Tensor, nn
from torch.nn import functional

from prunecli.coupling import Space
from prunecli.coupling.space import Group

BATCH = 16
POSITIONS = 16
"""Of a map, per sample, as the engine takes them."""
ROWS = 4096
"""Of one consumer in a slice; twice as many in the second, which tells what a row costs."""
STEPS = 256
CANDIDATES = 8


@dataclass(frozen=True)
class Slice:
    """``seconds`` were measured, ``full`` is what all samples would take by extrapolation."""

    seconds: float
    full: float
    how: str


def consumers(net: nn.Module, group: Group) -> list[nn.Module]:
    modules = dict(net.named_modules())
    return [modules[slot.parameter.rpartition(".")[0]] for slot in group.slots if slot.role == "in"]


def cuttable(space: Space) -> list[Group]:
    return [group for group in space.groups if group.frozen is None]


def hrank(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
    """One forward per layer, one ``matrix_rank`` per image and channel (HRank's ``rank_generation.py``)."""

    def ranks(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        for image in given[0]:
            for channel in image:
                torch.linalg.matrix_rank(channel).item()

    layers = [layer for group in cuttable(space) for layer in consumers(net, group)]
    began = process_time()
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            handle = layer.register_forward_pre_hook(ranks)
            with torch.no_grad():
                net(images[:1])
            handle.remove()
    seconds = process_time() - began
    return Slice(seconds, seconds * len(images), "one image through all layers, times the images")


def per_sample(role: str | None, finish: Callable[[Tensor], Tensor]) -> Callable[..., Slice]:
    """A loop over samples, groups, units and slots; ``role``: of the slots that count, None for all."""

    def naive(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
        parameters = dict(net.named_parameters())
        slots = [
            (parameters[slot.parameter], slot.dim, group.size)
            for group in cuttable(space) for slot in group.slots
            if role in (None, slot.role) and slot.parameter in parameters
        ]  # fmt: skip
        began = process_time()
        for image, label in zip(images[:2].split(1), labels[:2].split(1), strict=True):
            net.zero_grad()
            functional.cross_entropy(net(image), label).backward()
            for parameter, dim, size in slots:
                for unit in range(size):
                    weight, gradient = (t.select(dim, unit) for t in (parameter.detach(), parameter.grad))
                    finish(weight * gradient).sum().item()
        seconds = process_time() - began
        return Slice(seconds, seconds * len(images) / 2, "two samples, times half of the samples")

    return naive


def retained(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
    """The loop that torch-pruning documents for its Hessian: one forward of a batch, and through its whole
    graph one backward per sample.
    """
    batch = BATCH
    began = process_time()
    losses = functional.cross_entropy(net(images[:batch]), labels[:batch], reduction="none")
    forward = process_time() - began
    for loss in losses[:2]:
        net.zero_grad()
        loss.backward(retain_graph=True)
    seconds = process_time() - began
    full = (forward + (seconds - forward) / 2 * batch) * len(images) / batch
    return Slice(seconds, full, f"two backward passes of a batch of {batch}, times half of the samples")


def sample_loop(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
    """Only the backward passes of the above, one sample at a time, and the squares of whole gradients."""
    sums = {name: torch.zeros_like(parameter) for name, parameter in net.named_parameters()}
    began = process_time()
    for image, label in zip(images[:4].split(1), labels[:4].split(1), strict=True):
        net.zero_grad()
        functional.cross_entropy(net(image), label).backward()
        for name, parameter in net.named_parameters():
            sums[name] += parameter.grad.square()  # type: ignore[union-attr]
    seconds = process_time() - began
    return Slice(seconds, seconds * len(images) / 4, "four samples, times a quarter of the samples")


def cp(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
    """scikit-learn's LASSO path on stored activations; what a row costs is told by two slices.

    Of a long path only a part is walked and counted as often as it fits: too little, as late steps cost more.
    """

    def full(rows: Tensor, number: int) -> float:
        parts = max(1, rows.shape[1] // STEPS)
        few, many = (timed(lasso, rows[: len(rows) // half]) * parts for half in (2, 1))
        return few + max(many - few, 0.0) / (len(rows) - len(rows) // 2) * (number - len(rows) // 2)

    return reconstructing(net, space, images, full)


def lasso(rows: Tensor) -> None:
    given = rows.double().numpy()
    steps = given.shape[1] * 2 if given.shape[1] < 2 * STEPS else STEPS
    lars_path(given, given.sum(1), method="lasso", max_iter=steps)


def thinet(net: nn.Module, space: Space, images: Tensor, labels: Tensor) -> Slice:
    """Greedy on stored activations: the residual's norm anew for every candidate of every step."""

    def full(rows: Tensor, number: int) -> float:
        n = rows.shape[1]
        return timed(candidates, rows) / CANDIDATES * n * (n + 1) / 2 * number / len(rows)

    return reconstructing(net, space, images, full)


def candidates(rows: Tensor) -> None:
    removed = torch.zeros(len(rows))
    for unit in range(CANDIDATES):
        (removed + rows[:, unit]).square().sum().item()


def timed(work: Callable[[Tensor], None], rows: Tensor) -> float:
    began = process_time()
    work(rows)
    return process_time() - began


def reconstructing(
    net: nn.Module, space: Space, images: Tensor, full: Callable[[Tensor, int], float]
) -> Slice:
    """``full(slice, number of all rows)`` says what ``work`` on all of them would take. One group of each
    shape is timed, and stands for its like.
    """
    began, total = process_time(), 0.0
    likes: dict[tuple[object, ...], list[Group]] = {}
    for group in cuttable(space):
        shape = (group.size, *(tuple(layer.weight.shape) for layer in consumers(net, group)))  # type: ignore[union-attr]
        likes.setdefault(shape, []).append(group)
    for groups in likes.values():
        seconds, rows, number = contributions(net, consumers(net, groups[0]), images)
        total += len(groups) * (seconds + full(rows, number))
    return Slice(process_time() - began, total, f"one group of each of {len(likes)} shapes, some rows of it")


def contributions(net: nn.Module, layers: Sequence[nn.Module], images: Tensor) -> tuple[float, Tensor, int]:
    """What it would take to make all contributions channel by channel; ``[r, n]`` of them; how many rows all
    are. The forward passes are not counted.
    """
    seconds, found, number = 0.0, [], 0
    for layer in layers:
        patches = patches_of(net, layer, images[:1])
        began = process_time()
        weight = layer.get_parameter("weight").detach()
        weight = weight.reshape(*weight.shape[:2], -1)
        columns = [(patches[:, unit] @ weight[:, unit].T).reshape(-1) for unit in range(patches.shape[1])]
        seconds += (process_time() - began) * len(images)
        rows = torch.stack(columns, 1)
        number += len(rows) * len(images)
        found.append(rows[: ROWS // len(layers)])
    return seconds, torch.cat(found), number


def patches_of(net: nn.Module, layer: nn.Module, images: Tensor) -> Tensor:
    """``[p, n, f]``: the inputs of ``layer`` at ``POSITIONS`` places of its output per image."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        net(images)
    handle.remove()
    if not isinstance(layer, nn.Conv2d):
        return seen[0][:, :, None]
    size = layer.kernel_size
    unfolded = functional.unfold(seen[0], size, layer.dilation, layer.padding, layer.stride)
    places = torch.randperm(unfolded.shape[2], generator=torch.Generator().manual_seed(0))[:POSITIONS]
    chosen = unfolded[:, :, places].transpose(1, 2)
    return chosen.reshape(-1, layer.in_channels, size[0] * size[1])


NAIVE: dict[str, Callable[[nn.Module, Space, Tensor, Tensor], Slice]] = {
    "hrank": hrank,
    "cp": cp,
    "thinet": thinet,
    "obd-hessian": per_sample(None, torch.Tensor.square),
    "obd-c": per_sample("out", torch.Tensor.square),
    "taylor": per_sample(None, torch.Tensor.sum),
    "obd-hessian, whole gradients": sample_loop,
    "obd-hessian, graph retained": retained,
}

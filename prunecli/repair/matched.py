"""Noise moved until the norms of a network see the statistics that they remember of its training.

Every batch norm holds the mean and the variance that its inputs had in training. Inputs for which the
network computes the same are nearer to real ones than any noise, and gradients lead there without data or
labels: with ``m, s`` the mean and standard deviation that a norm sees over a chunk of inputs, and ``M, S``
what it remembers, they go down ``|(m - M) / S|^2 + |s / S - 1|^2``, averaged over channels and norms. The
idea is that of ZeroQ (Cai et al., CVPR 2020, equation 4), here with deviations relative to what is remembered
so that no channel counts for its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from prunecli.assembly import working_copy
from prunecli.data import Samples
from prunecli.data.samples import Batch
from prunecli.inputs import Inputs
from prunecli.running.chunks import one_thread_each

CHUNK = 8
"""Inputs that have the statistics together: enough for a mean, and a thread's work."""
STEPS, FEWEST = 100, 10
LENGTH = 0.006
"""Of the first step, in standard deviations of the inputs, for every step that there are: of few, long ones
lead away.
"""
PASSES = 3
"""A step costs about so many forwards: one, and twice that back."""


@dataclass(frozen=True)
class Matched:
    """``mismatch``: of the statistics, before and after, averaged over chunks."""

    samples: Samples
    mismatch: tuple[float, float]


def matched(
    module: nn.Module,
    samples: Samples,
    device: torch.device,
    steps: int,
    memory: int,
    progress: Callable[[str], None] | None = None,
) -> Matched | None:
    """``samples`` of one floating tensor each, moved in ``steps`` steps; None where they are not such, where
    ``module`` (which is not changed) has no norm that remembers, or where a chunk does not fit into
    ``memory`` bytes. Raises what forward or backward raise.
    """
    chunks = list(samples.chunks(CHUNK))
    if any(not _movable(chunk) for chunk in chunks):
        return None
    network = working_copy(module, device, torch.float32)
    each = len(chunks[0]) * _saved(
        network, chunks[0][:1].inputs.cast(torch.float32).map(lambda x: x.to(device))
    )
    at_once = memory // each if each else 0
    if not at_once:
        return None
    done: list[tuple[Batch, float, float]] = []
    with one_thread_each(device) as side_by_side:
        for start in range(0, len(chunks), at_once):
            if progress is not None:
                progress(f"repair: noise as the norms remember it, {len(done)} of {len(chunks)} chunks")
            part = chunks[start : start + at_once]
            done += side_by_side.each(lambda chunk: _moved(network, chunk, device, steps), part)
    batches, before, after = zip(*done, strict=True)
    return Matched(
        replace(samples, batches=batches, count=None), (sum(before) / len(done), sum(after) / len(done))
    )


def steps_within(seconds: float | None, macs: int, samples: int, rate: float) -> int:
    """How many steps ``seconds`` allow (None: all) at ``rate`` multiply-adds a second; 0 where too few to do
    any good.
    """
    if seconds is None:
        return STEPS
    found = min(STEPS, int(seconds * rate / max(1, PASSES * macs * samples)))
    return found if found >= FEWEST else 0


def _movable(chunk: Batch) -> bool:
    tensors = chunk.inputs.tensors
    return not chunk.whole and len(tensors) == 1 and tensors[0].is_floating_point()


def _saved(network: nn.Module, inputs: Inputs) -> int:
    """Bytes that a step on ``inputs`` keeps for the way back; 0 where the network has no norm to ask."""
    total = 0

    def counted(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(counted, lambda tensor: tensor):
        found = _mismatch(network, inputs.map(lambda x: x.requires_grad_(True)))
    return 0 if found is None else max(1, total)


def _moved(network: nn.Module, chunk: Batch, device: torch.device, steps: int) -> tuple[Batch, float, float]:
    """The nearest of all that were on the way: the first steps may lead away."""
    (given,) = chunk.inputs.tensors
    x = given.detach().to(device, torch.float32).requires_grad_(True)
    # Steps are as long as the inputs are strong, whatever their unit.
    adam = torch.optim.Adam([x], lr=LENGTH * steps * float(x.detach().std()), eps=1e-12, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    best, kept, start = float("inf"), x.detach(), None
    for step in range(steps + 1):
        with torch.enable_grad():
            found = _mismatch(network, chunk.inputs.map(lambda _: x))
            assert found is not None
            mismatch = float(found.detach())
            start = mismatch if start is None else start
            if mismatch < best:
                best, kept = mismatch, x.detach().clone()
            if step == steps:
                break
            (x.grad,) = torch.autograd.grad(found, x)
        adam.step()
        schedule.step()
    moved = chunk.inputs.map(lambda _: kept.to("cpu", given.dtype))
    return replace(chunk, inputs=moved), start or 0.0, best


_ARGUMENTS: dict[Any, tuple[str, ...]] = {
    nn.functional.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training"),
    torch.batch_norm: ("input", "weight", "bias", "running_mean", "running_var", "training"),
}
"""By position. The mode is off within the function that it sees, so none is met twice."""


class _Norms(TorchFunctionMode):
    """Collects how far every batch norm is from what it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        arguments = _ARGUMENTS.get(func)
        if arguments is not None:
            given = dict(zip(arguments, args, strict=False)) | kwargs
            mean, variance = given["running_mean"], given["running_var"]
            if mean is not None and variance is not None and not given.get("training", False):
                self.found.append(_distance(given["input"], mean, variance))
        return func(*args, **kwargs)


def _mismatch(network: nn.Module, inputs: Inputs) -> Tensor | None:
    """Averaged over the norms; None where there are none."""
    norms = _Norms()
    with norms:
        inputs.run(network)
    return torch.stack(norms.found).mean() if norms.found else None


def _distance(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Of channels that were always the same in training nothing is asked."""
    rows = x.movedim(1, -1).flatten(0, -2)
    seen_variance, seen_mean = torch.var_mean(rows, 0, unbiased=False)
    alive = variance > 1e-6 * variance.mean()
    deviation = variance[alive].sqrt()
    shift = (seen_mean[alive] - mean[alive]) / deviation
    spread = (seen_variance[alive] + 1e-12).sqrt() / deviation - 1
    return (shift.square() + spread.square()).mean()

"""Running statistics of batch norms, taken anew from what the pruned network computes.

Every norm in execution order gets the mean and the unbiased variance of its input over all samples, given the
norms before it as already set: a fixed point, where passes in training mode only come near one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.repair.lockstep import Forward
from prunecli.running.calls import Call
from prunecli.running.chunks import Chunks


def recalibrate(pruned: nn.Module, samples: Sequence[Inputs], chunks: Chunks) -> int:
    """Set the statistics of ``pruned`` in place; returns how many norms have such."""
    changed = 0
    with ExitStack() as stack:
        forwards = [Forward(pruned, chunk, early=True) for chunk in samples]
        for forward in forwards:
            stack.callback(forward.close)
        while True:
            found = list(chunks.each(Forward.advance, forwards))
            calls = [at[0] for at in found if at is not None]
            if len(calls) < len(forwards):
                return changed
            if calls[0].kind == "norm" and calls[0].bias is not None:
                _set(calls, chunks)
                changed += 1


def _set(calls: Sequence[Call], chunks: Chunks) -> None:
    sums = list(chunks.each(_sums, calls))
    count = sum(number for number, _, _ in sums)
    mean = torch.stack([total for _, total, _ in sums]).sum(0) / count
    square = torch.stack([squares for _, _, squares in sums]).sum(0)
    variance = (square - count * mean.square()).clamp(min=0) / max(1, count - 1)
    running_mean, running_variance = calls[0].weight, calls[0].bias
    running_mean.copy_(mean)
    if running_variance is not None and count > 1:
        running_variance.copy_(variance)


def _sums(call: Call) -> tuple[int, Tensor, Tensor]:
    rows = call.x.movedim(1, -1).flatten(0, -2).double()
    return rows.shape[0], rows.sum(0), rows.square().sum(0)

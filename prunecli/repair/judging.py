"""How far outputs are from those of the dense network, on samples that no fit has seen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, rebuilt
from prunecli.coupling.recording import outputs_in
from prunecli.inputs import Inputs
from prunecli.running.chunks import Chunks


def outputs(module: nn.Module, samples: Sequence[Inputs], chunks: Chunks) -> list[list[Tensor]]:
    """The floating outputs of ``module`` for every chunk."""

    def run(chunk: Inputs) -> list[Tensor]:
        with torch.no_grad():
            found = outputs_in(chunk.run(rebuilt(module, all_tensors(module)).eval()))
        return [tensor for tensor in found if tensor.is_floating_point()]

    return list(chunks.each(run, samples))


def output_error(wanted: Sequence[Sequence[Tensor]], found: Sequence[Sequence[Tensor]]) -> float | None:
    """Relative L2 error over all outputs, each weighted by its own size; None where they cannot be compared
    (a detector that finds nothing, or another number of things).
    """
    errors: dict[int, float] = {}
    spreads: dict[int, float] = {}
    for ours, theirs in zip(found, wanted, strict=True):
        if [t.shape for t in ours] != [t.shape for t in theirs]:
            return None
        for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            errors[index] = errors.get(index, 0.0) + float((a.double() - b.double()).square().sum())
            spreads[index] = spreads.get(index, 0.0) + float(b.double().square().sum())
    shares = [errors[index] / spread for index, spread in spreads.items() if spread > 0]
    return (sum(shares) / len(shares)) ** 0.5 if shares else None

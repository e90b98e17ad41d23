"""Noise as strong and as bright as what a network was trained on, as far as its first norm remembers.

The running statistics of a batch norm right behind the first convolution are the mean ``m`` and the variance
``s`` of what that made of the training inputs. A convolution is linear: with ``S [C, I]`` its response to a
constant input and ``v [C]`` the variance it makes of unit noise, inputs of mean ``b`` and standard deviation
``a`` give ``m = S b + bias`` and ``s = a^2 v``, which are solved for ``b`` and ``a``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from prunecli.data import Samples
from prunecli.data.samples import Batch, Lazy
from prunecli.inputs import Inputs
from prunecli.repair.lockstep import Forward
from prunecli.repair.site import computed
from prunecli.running.calls import Call


@dataclass(frozen=True)
class Level:
    """Standard deviation, and mean per channel ``[I]``, of a network's inputs."""

    scale: float
    mean: Tensor

    def of(self, samples: Samples) -> Samples:
        """``samples`` (of about zero mean and unit variance) at this level."""

        def read(index: int) -> Batch:
            batch = samples.batches[index]
            return replace(batch, inputs=batch.inputs.map(self._applied))

        return Samples(Lazy(len(samples.batches), read), samples.origin, samples.notes, count=samples.count)

    def _applied(self, x: Tensor) -> Tensor:
        mean = self.mean.to(x.dtype).view(1, -1, *[1] * (x.dim() - 2))
        return x * self.scale + mean


def level(module: nn.Module, inputs: Inputs) -> Level | None:
    """The level that the first norm of ``module`` remembers, from what it makes of ``inputs`` (noise); None
    where the network does not begin with a convolution and a norm.
    """
    if len(inputs.tensors) != 1 or not inputs.tensors[0].is_floating_point():
        return None
    forward = Forward(module, inputs, early=False)
    try:
        first, second = forward.advance(), forward.advance()
    finally:
        forward.close()
    if first is None or second is None or first[0].kind != "convolution" or second[0].kind != "norm":
        return None
    (call, made), (norm, _) = first, second
    if made is None or norm.bias is None or not torch.equal(call.x, inputs.tensors[0]):
        return None
    return _solved(call, made, norm.weight, norm.bias)


def _solved(call: Call, made: Tensor, remembered: Tensor, variance: Tensor) -> Level | None:
    rows = made.movedim(1, -1).flatten(0, -2).double()
    seen = rows.var(0)
    alive = (seen > 1e-12) & (variance > 1e-12)
    if rows.shape[1] != len(remembered) or not bool(alive.any()):
        return None
    scale = float((variance.double()[alive] / seen[alive]).median().sqrt())
    wanted = remembered.double() - (0.0 if call.bias is None else call.bias.double())
    weight = variance.double().clamp(min=1e-12).rsqrt()
    response = torch.stack(_responses(call), 1)
    mean = torch.linalg.lstsq(response * weight[:, None], (wanted * weight)[:, None], driver="gelsd").solution
    return Level(scale, mean[:, 0].detach()) if bool(mean.isfinite().all()) and scale > 0 else None


def _responses(call: Call) -> list[Tensor]:
    """Mean output ``[C]`` for an input that is one in a single channel and zero elsewhere, for each."""
    found = []
    for channel in range(call.x.shape[1]):
        constant = torch.zeros_like(call.x[:1])
        constant[:, channel] = 1
        found.append(
            computed(replace(call, x=constant, bias=None)).double().mean((0, *range(2, call.x.dim())))
        )
    return found

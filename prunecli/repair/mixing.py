"""Operations too wide to solve as a whole: every channel of the dense input as a combination of those that
stay.

With X ~ M U (channels of the dense input from those of the pruned one, one fit for all kernel positions) the
weights W of the dense operation become W M: what removed channels would have said is said by the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunecli.repair.moments import Moments
from prunecli.repair.ridge import Fit
from prunecli.running.calls import Call


@dataclass(frozen=True)
class Mixing:
    """``dense`` input channels become ``kept`` (int64); ``inner`` positions of each are side by side in a
    product's input (a flattened image). ``start [1, dense, kept]``: the cut as a mixing.
    """

    kind: str
    dense: int
    kept: Tensor
    inner: int
    start: Tensor

    def moments(self, x: Tensor, u: Tensor, most: int, seed: int) -> Moments:
        """Of the pruned input ``u`` and the dense input ``x``, at ``most`` positions."""
        wide, narrow = self._channels(x), self._channels(u)
        if wide.shape[0] > most:
            generator = torch.Generator().manual_seed(seed)
            picked = torch.randperm(wide.shape[0], generator=generator)[:most].sort().values.to(x.device)
            wide, narrow = wide[picked], narrow[picked]
        return Moments.of(narrow[None], wide[None])

    def _channels(self, x: Tensor) -> Tensor:
        if self.kind == "product":
            return x.reshape(x.shape[0], -1, self.inner).transpose(1, 2).flatten(0, 1)
        return x.movedim(1, -1).flatten(0, -2)

    def mixed(self, weight: Tensor, kept_outputs: Tensor, found: Fit) -> tuple[Tensor, Tensor]:
        """The pruned operation's weights from the dense ``weight``, and what they add to every output."""
        mix, constant = found.weight[0], found.bias[0]
        if self.kind == "product":
            rows = weight.double().t()[kept_outputs].reshape(len(kept_outputs), self.dense, self.inner)
            new = torch.einsum("oci,ck->oki", rows, mix).flatten(1).t()
            return new, torch.einsum("oci,c->o", rows, constant)
        if self.kind == "transposed":
            rows = weight.double()[:, kept_outputs]
            return torch.einsum("co...,ck->ko...", rows, mix), torch.einsum("co...,c->o", rows, constant)
        rows = weight.double()[kept_outputs]
        return torch.einsum("oc...,ck->ok...", rows, mix), torch.einsum("oc...,c->o", rows, constant)


def plan(there: Call, here: Call, kept: Tensor) -> Mixing | None:
    """How the input channels of ``there`` become those of ``here``; None where they are not whole
    channels.
    """
    dense, left = _channels(there), _channels(here)
    if len(kept) != left:
        return None
    inner = _inner(kept) if there.kind == "product" else 1
    if dense % inner or left % inner:
        return None
    channels = kept[::inner] // inner
    start = torch.zeros(dense // inner, left // inner, dtype=torch.float64, device=kept.device)
    start[channels, torch.arange(len(channels), device=kept.device)] = 1
    return Mixing(there.kind, dense // inner, channels, inner, start[None])


def _channels(call: Call) -> int:
    return call.weight.shape[0] if call.kind in ("product", "transposed") else call.weight.shape[1]


def _inner(kept: Tensor) -> int:
    """The longest run length that all of ``kept`` is made of: features of one channel lie side by side."""
    breaks = (kept.diff() != 1).nonzero().flatten() + 1
    edges = torch.cat([breaks, kept[:1], kept[-1:] + 1, breaks.new_tensor([len(kept)])])
    edges = torch.cat([edges, kept[breaks], kept[breaks - 1] + 1])
    result = 0
    for edge in edges.tolist():
        result = _gcd(result, edge)
    return max(1, result)


def _gcd(a: int, b: int) -> int:
    while b:
        a, b = b, a % b
    return a

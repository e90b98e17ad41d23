"""Zeros that are in the weights already, layer by layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, skeleton, working_copy
from prunecli.checkpoint.soundness import is_eight_bit_float
from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.report.sparse import LayerSparsity
from prunecli.running.calls import Geometry
from prunecli.running.layers import Layer, Layers

NEAR = 1e-3
_CHUNK = 32


def sparsity(
    module: nn.Module, specs: Sequence[InputSpec], macs: int, samples: Samples | None = None
) -> tuple[LayerSparsity, ...]:
    """One row per layer with a weight, from one run on a small seeded input, or on ``samples``. ``macs`` are
    those of a forward. Raises ``InputError`` where the network does not run on the samples.
    """
    layers = _seen(module, specs, macs) if samples is None else _seen_on(module, samples)
    tensors = all_tensors(module)
    return tuple(
        _row(name, child, layers.of, tensors)
        for name, child in module.named_modules()
        if _weight(child) is not None
    )


def _seen(module: nn.Module, specs: Sequence[InputSpec], macs: int) -> Layers:
    """Without arithmetic, or with it where forward looks at values. Where it does not run, zeros are counted
    all the same.
    """
    layers = Layers(skeleton(module).eval())
    try:
        layers.run(input_room.make(specs).map(lambda tensor: tensor.to("meta")))
        return layers
    except (*FORWARD_ERRORS, NotImplementedError):
        pass
    for some in dict.fromkeys((input_room.smaller(specs, macs), tuple(specs))):
        layers = Layers(working_copy(module, torch.device("cpu"), torch.float32))
        try:
            layers.run(input_room.make(some).cast(torch.float32))
            return layers
        except FORWARD_ERRORS:
            continue
    return Layers(module)


def _seen_on(module: nn.Module, samples: Samples) -> Layers:
    layers = Layers(working_copy(module, torch.device("cpu"), torch.float32), values=True)
    for batch in samples.chunks(_CHUNK):
        try:
            layers.run(batch.inputs.cast(torch.float32))
        except FORWARD_ERRORS as error:
            raise InputError(
                f"the network does not run on the data: {first_line(error)}", "check --data and --transform"
            ) from error
    return layers


def _weight(module: nn.Module) -> tuple[str, Tensor] | None:
    """Its own parameter with rows, and the name of that."""
    owned = dict(module.named_parameters(recurse=False))
    first = "weight" if "weight" in owned else next((n for n, p in owned.items() if p.dim() > 1), None)
    return None if first is None or owned[first].dim() < 2 else (first, owned[first])


def _computable(tensor: Tensor) -> Tensor:
    """On the CPU, and no float of eight bits, of which torch does not even count the zeros."""
    found = tensor.detach().cpu()
    return found.float() if is_eight_bit_float(found) else found


def _row(
    name: str, module: nn.Module, layers: Mapping[str, Layer], tensors: Mapping[str, Tensor]
) -> LayerSparsity:
    found = _weight(module)
    assert found is not None
    weight = _computable(found[1])
    prefix = f"{name}." if name else ""
    layer = layers.get(prefix + found[0])
    own = [_computable(parameter) for parameter in module.parameters(recurse=False)]
    small = NEAR * float(weight.float().norm()) / max(1, weight.numel()) ** 0.5
    zeros = sum(parameter.numel() - int(parameter.count_nonzero()) for parameter in own)
    below = sum(int((parameter.abs() < small).count_nonzero()) for parameter in own)
    # Zeros are below too, unless there is nothing else.
    near = max(0, below - zeros)
    params = sum(parameter.numel() for parameter in own)
    if layer is None:
        return LayerSparsity(name, params, zeros, near, 0, 0, 0, None, two_four(weight != 0))
    rows = _rows(weight, layer)
    beside = _beside(module, layer, tensors, rows.shape[0])
    pattern = rows != 0
    dead = ~pattern.flatten(1).any(1)
    for gamma in beside.gammas:
        dead |= gamma == 0
    inactive = None if layer.active is None else int((~layer.active).sum())
    return LayerSparsity(
        name, params, zeros, near, rows.shape[0], int(dead.sum()),
        _duplicates(rows, beside.numbers, layer.call.geometry, ~dead), inactive, two_four(pattern),
    )  # fmt: skip


def _rows(weight: Tensor, layer: Layer) -> Tensor:
    """``[C, I/G, taps]``."""
    if layer.call.kind == "transposed":
        groups = layer.call.geometry.groups
        split = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        return split.transpose(1, 2).flatten(0, 1)
    plain = weight.reshape(*weight.shape[:2], -1)
    return plain if layer.outputs_first else plain.transpose(0, 1)


class _Beside:
    """What else belongs to each of ``channels``: a bias, the numbers of the norm behind."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.numbers: list[Tensor] = []
        self.gammas: list[Tensor] = []

    def take(self, tensor: Tensor | None, is_gamma: bool = False) -> None:
        if tensor is None or tensor.dim() != 1 or len(tensor) != self.channels:
            return
        self.numbers.append(tensor.detach().cpu())
        if is_gamma:
            self.gammas.append(tensor.detach().cpu())


def _beside(module: nn.Module, layer: Layer, tensors: Mapping[str, Tensor], channels: int) -> _Beside:
    beside = _Beside(channels)
    for _, parameter in module.named_parameters(recurse=False):
        beside.take(parameter)
    if layer.norm is not None:
        place = layer.norm.rpartition(".")[0]
        prefix = f"{place}." if place else ""
        beside.take(tensors.get(prefix + "weight"), is_gamma=True)
        for other in ("bias", "running_mean", "running_var"):
            beside.take(tensors.get(prefix + other))
    return beside


def _duplicates(rows: Tensor, numbers: Sequence[Tensor], geometry: Geometry, alive: Tensor) -> int:
    """Of the rows that are ``alive``: how many equal an earlier one bit by bit, in all their numbers, and
    read the same inputs.
    """
    reads = torch.arange(len(rows)).div(max(1, len(rows) // geometry.groups), rounding_mode="floor")
    columns = [part.reshape(len(part), -1) for part in (reads, *numbers, rows)]
    indices = alive.nonzero().flatten()
    # The first few numbers tell most rows apart.
    some = _keys(columns, indices, 16)
    times = Counter(some)
    alike = indices[torch.tensor([times[key] > 1 for key in some], dtype=torch.bool)]
    return len(alike) - len(set(_keys(columns, alike)))


def _keys(columns: Sequence[Tensor], indices: Tensor, most: int | None = None) -> list[bytes]:
    """One key for each of the rows ``indices``: equal where their numbers are, up to ``most`` a part."""
    if not len(indices):
        return []
    # 0 and -0 are equal numbers of different bits.
    parts = [part[:, :most][indices].to(torch.float64) + 0.0 for part in columns]
    table = torch.cat(parts, 1).numpy()
    return [row.tobytes() for row in table]


def two_four(pattern: Tensor) -> float | None:
    """``pattern [O, I, ...]`` is where weights are not zero: the fraction of aligned runs of four along the
    inputs with at most two of them.
    """
    if pattern.shape[1] % 4 or not pattern.numel():
        return None
    runs = np.ascontiguousarray(pattern.movedim(1, -1).numpy()).view(np.uint32)
    # The four bytes of a run, each 0 or 1, added up in the highest.
    nonzero = (runs * np.uint32(0x01010101)) >> np.uint32(24)
    return float((nonzero <= 2).mean())

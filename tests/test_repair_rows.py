from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunecli.repair import rows
from prunecli.running.calls import Call, Geometry

LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (nn.Conv2d(3, 4, 3), (2, 3, 7, 6)),
    "stride, border, dilation": (nn.Conv2d(3, 4, (3, 2), (2, 1), (2, 0), (1, 2)), (2, 3, 9, 8)),
    "groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 5)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5)),
    "one dimension": (nn.Conv1d(3, 4, 5, padding=4), (2, 3, 9)),
    "three dimensions": (nn.Conv3d(2, 3, (2, 3, 1), padding=(1, 0, 0)), (2, 2, 4, 5, 3)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, 2, 1, 1), (2, 3, 4, 5)),
    "transposed, groups, dilation": (
        nn.ConvTranspose2d(4, 6, (3, 2), groups=2, dilation=(2, 1)),
        (2, 4, 4, 5),
    ),
    "transposed, cropped": (nn.ConvTranspose1d(3, 4, 3, 1, 2), (2, 3, 9)),
}


def call_of(layer: nn.Module, x: Tensor) -> Call:
    kind = "transposed" if layer.transposed else "convolution"
    geometry = Geometry(layer.stride, layer.padding, layer.dilation, layer.output_padding, layer.groups)
    return Call(kind, x, layer.weight.detach(), None, "w", geometry)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("most", [10_000, 11])
def test_rows_times_the_matrix_are_what_the_layer_computes(name: str, most: int) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    call = call_of(layer, x)
    with torch.no_grad():
        y = layer(x)
    positions = rows.picked(call, tuple(y.shape), most, 3)
    everything = y.shape[0] * y.shape[2:].numel()
    assert (positions is None) == (everything <= most)
    u = rows.inputs(call, positions)
    wanted = rows.outputs(call, y, positions, torch.arange(y.shape[1]), layer.groups)
    matrix = rows.as_matrix(call.kind, call.weight, layer.groups)
    bias = layer.bias.detach().view(layer.groups, 1, -1)
    assert u.shape[1] == min(everything, most)
    assert torch.allclose(u @ matrix.mT + bias, wanted, atol=1e-12)
    assert torch.equal(rows.from_matrix(call.kind, matrix, call.weight, layer.groups), call.weight)


def test_positions_are_drawn_once_each_by_the_seed() -> None:
    layer, shape = LAYERS["plain"]
    call = call_of(layer, torch.zeros(shape))
    first, again, other = (rows.picked(call, (2, 4, 5, 4), 12, seed) for seed in (1, 1, 2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(set(first.tolist())) == 12
    assert 0 <= int(first.min()) <= int(first.max()) < 40

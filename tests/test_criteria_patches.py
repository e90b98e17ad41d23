from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.criteria.patches import rows, weights
from prunecli.running.calls import Call, Parameters, recognise

LAYERS = {
    "padded": (nn.Conv2d(3, 4, 3, padding=1), (2, 3, 5, 4)),
    "strided": (nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 3, 7, 6)),
    "dilated": (nn.Conv2d(2, 4, 3, dilation=2, padding=2), (2, 2, 6, 6)),
    "grouped": (nn.Conv2d(6, 4, 3, groups=2, padding=1), (2, 6, 4, 4)),
    "1d": (nn.Conv1d(3, 5, 3, padding=1), (2, 3, 9)),
    "3d": (nn.Conv3d(2, 3, 2), (1, 2, 4, 3, 3)),
    "transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 4, 3)),
    "transposed dilated": (nn.ConvTranspose2d(3, 2, 2, stride=1, dilation=2), (1, 3, 4, 4)),
    "transposed grouped": (nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2), (2, 6, 3, 3)),
    "linear": (nn.Linear(5, 3), (7, 5)),
}


class Caught(TorchDispatchMode):
    def __init__(self, known: Parameters) -> None:
        super().__init__()
        self.known = known
        self.calls: list[tuple[Call, Tensor]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        call = recognise(func, args, kwargs or {}, self.known)
        if call is not None:
            self.calls.append((call, out))
        return out


def called(layer: nn.Module, shape: tuple[int, ...]) -> tuple[Call, Tensor]:
    mode = Caught(Parameters(layer))
    with torch.no_grad(), mode:
        layer(torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    (found,) = mode.calls
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_weights_are_the_outputs(name: str) -> None:
    layer, shape = LAYERS[name]
    layer = layer.double()
    call, out = called(layer, shape)
    found = rows(call, out, 10_000, torch.Generator())
    made = torch.einsum("grik,goik->rgo", found, weights(call)).flatten(1)
    wanted = out.flatten(2).transpose(1, 2).reshape(-1, out.shape[1]) if out.dim() > 2 else out
    assert torch.allclose(made, wanted.detach() - layer.bias.detach(), atol=1e-12)


@pytest.mark.parametrize("name", ["padded", "grouped", "transposed", "linear"])
def test_some_positions_stand_for_all(name: str) -> None:
    layer, shape = LAYERS[name]
    call, out = called(layer.double(), shape)
    everything = rows(call, out, 10_000, torch.Generator())
    samples = 1 if name == "linear" else shape[0]
    per_sample = everything.shape[1] // samples
    some = [rows(call, out, 3, torch.Generator().manual_seed(seed)) for seed in range(600)]
    assert {len(found[0]) for found in some} == {3 * samples}
    mean = torch.stack([found.square().sum(1) for found in some]).mean(0)
    assert torch.allclose(mean, everything.square().sum(1), rtol=0.25)
    kept = some[0] / (per_sample / 3) ** 0.5
    for row in kept[0].flatten(1):
        assert (everything[0].flatten(1) - row).abs().amax(1).min() < 1e-12, "every row is one of them all"

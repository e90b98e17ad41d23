from __future__ import annotations

import pytest
import torch
from torch import nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import noise
from prunecli.inputs import Inputs
from prunecli.repair.remembered import level

SPECS = (InputSpec(None, "float32", (1, 3, 24, 24)),)


def first_chunk() -> Inputs:
    return next(iter(noise(SPECS, samples=16).chunks(16))).inputs


def trained(bias: bool, *, mean: tuple[float, ...], scale: float) -> nn.Module:
    """A network whose norm has seen noise of that level in training."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3, bias=bias), nn.BatchNorm2d(24, momentum=None), nn.ReLU())
    (x,) = first_chunk().positional
    net.train()(x * scale + torch.tensor(mean).view(1, 3, 1, 1))
    return net.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_noise_gets_the_mean_and_the_strength_of_the_training_inputs(bias: bool) -> None:
    mean, scale = (0.5, -0.25, 2.0), 0.3
    net = trained(bias, mean=mean, scale=scale)
    found = level(net, first_chunk())
    assert found is not None
    assert found.scale == pytest.approx(scale, rel=1e-3)
    (x,) = first_chunk().positional
    seen = (x * scale + torch.tensor(mean).view(1, 3, 1, 1)).mean((0, 2, 3))
    assert found.mean.tolist() == pytest.approx(seen.tolist(), abs=0.02)
    samples = found.of(noise(SPECS, samples=16))
    (y,) = next(iter(samples.chunks(16))).inputs.positional
    assert len(samples) == 16
    assert torch.allclose(y, x * found.scale + found.mean.float().view(1, 3, 1, 1), atol=1e-6)


def test_networks_that_remember_nothing_leave_the_noise_as_it_is() -> None:
    (x,) = first_chunk().positional
    assert level(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), Inputs((x,))) is None
    late = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    assert level(late, Inputs((x,))) is None, "it is not the input that the convolution sees"
    assert level(nn.Embedding(9, 4), Inputs((torch.zeros(2, 3, dtype=torch.int64),))) is None

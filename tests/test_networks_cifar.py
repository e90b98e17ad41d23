"""The bundled CIFAR networks: sizes from the definition on paper, forward, tracing."""

from __future__ import annotations

import warnings
from itertools import pairwise

import pytest
import torch
from torch import nn

from prunecli.networks.cifar import REGISTRY


def convolution(inputs: int, outputs: int, kernel: int = 3) -> int:
    """Parameters of a convolution without bias and its BatchNorm."""
    return inputs * outputs * kernel**2 + 2 * outputs


def basic_resnet(depths: list[int], widths: list[int], classes: int = 10, channels: int = 3) -> int:
    total, inputs = convolution(channels, widths[0]), widths[0]
    for depth, width in zip(depths, widths, strict=True):
        total += convolution(inputs, width) + convolution(width, width)
        total += convolution(inputs, width, 1) if inputs != width else 0
        total += (depth - 1) * 2 * convolution(width, width)
        inputs = width
    return total + inputs * classes + classes


def bottleneck_resnet50() -> int:
    total, inputs = convolution(3, 64), 64
    for depth, width in zip([3, 4, 6, 3], [64, 128, 256, 512], strict=True):
        total += convolution(inputs, 4 * width, 1)
        for _ in range(depth):
            total += (
                convolution(inputs, width, 1) + convolution(width, width) + convolution(width, 4 * width, 1)
            )
            inputs = 4 * width
    return total + 2048 * 10 + 10


def vgg(depths: list[int]) -> int:
    total, inputs = 0, 3
    for depth, width in zip(depths, [64, 128, 256, 512, 512], strict=True):
        for _ in range(depth):
            total += convolution(inputs, width) + width
            inputs = width
    return total + 512 * 10 + 10


def mobilenet_v1() -> int:
    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    total = convolution(3, 32)
    for inputs, outputs in pairwise(widths):
        total += convolution(1, inputs) + convolution(inputs, outputs, 1)
    return total + 1024 * 10 + 10


CLOSED_FORMS = {
    **{f"resnet{6 * n + 2}": basic_resnet([n] * 3, [16, 32, 64]) for n in (1, 3, 5, 7, 9, 18)},
    "resnet18": basic_resnet([2] * 4, [64, 128, 256, 512]),
    "resnet50": bottleneck_resnet50(),
    "vgg13": vgg([2, 2, 2, 2, 2]),
    "vgg16": vgg([2, 2, 3, 3, 3]),
    "vgg19": vgg([2, 2, 4, 4, 4]),
    "mobilenet_v1": mobilenet_v1(),
}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_closed_forms_cover_the_registry() -> None:
    assert set(CLOSED_FORMS) == set(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_parameter_count_is_the_closed_form(name: str) -> None:
    with torch.device("meta"):
        assert parameters(REGISTRY[name]()) == CLOSED_FORMS[name]


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("resnet20", 272_474), ("resnet56", 855_770), ("resnet18", 11_173_962), ("vgg19", 20_040_522)],
)
def test_parameter_count_is_the_one_commonly_quoted(name: str, quoted: int) -> None:
    assert CLOSED_FORMS[name] == quoted


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_forward_gives_one_finite_logit_per_class(name: str) -> None:
    torch.manual_seed(0)
    module = REGISTRY[name](num_classes=7).eval()
    with torch.no_grad():
        logits = module(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert torch.isfinite(logits).all()


def test_other_input_channels_change_the_stem_only() -> None:
    with torch.device("meta"):
        colour, grey = REGISTRY["resnet20"](), REGISTRY["resnet20"](in_channels=1)
    other = {k for k, v in colour.state_dict().items() if v.shape != grey.state_dict()[k].shape}
    assert other == {"conv1.weight"}
    assert grey.state_dict()["conv1.weight"].shape == (16, 1, 3, 3)


def test_resnet8_takes_digits() -> None:
    module = REGISTRY["resnet8"](in_channels=1).eval()
    assert module(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert parameters(module) == basic_resnet([1] * 3, [16, 32, 64], channels=1)


def test_names_are_those_of_the_field() -> None:
    with torch.device("meta"):
        keys = set(REGISTRY["resnet20"]().state_dict())
        assert {"conv1.weight", "layer2.0.downsample.0.weight", "layer3.2.bn2.running_var", "fc.bias"} <= keys
        assert "layer1.0.downsample.0.weight" not in keys
        assert {"features.0.weight", "classifier.bias"} <= set(REGISTRY["vgg19"]().state_dict())


@pytest.mark.parametrize("name", ["resnet8", "resnet50", "vgg13", "mobilenet_v1"])
def test_a_jit_trace_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    module = REGISTRY[name]().eval()
    x = torch.randn(1, 3, 32, 32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(module, x)
        torch.testing.assert_close(traced(x), module(x))

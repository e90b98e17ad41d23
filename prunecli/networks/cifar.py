"""The networks of the CIFAR literature, bundled because no library that is a dependency has them.

ResNets of depth 6n + 2 (He 2016, section 4.2) with projection shortcuts, VGG with BatchNorm and one linear
layer (Simonyan 2015), MobileNet v1 (Howard 2017), and the ImageNet ResNets with a 3x3 stem and no max-pool.
Every factory takes ``num_classes`` and ``in_channels``; every network ends in adaptive pooling, so the image
size is free (VGG needs 32 pixels, since it halves five times). Parameters have their torchvision names where
torchvision has the network.

Shapes: ``[N, in_channels, H, W] -> [N, num_classes]``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias (BatchNorm follows) that keeps the image size at stride 1."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut: identity where the shape stays, else a 1x1 convolution (option B of He 2016)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the block's output has ``4 * width`` channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = _conv(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class DepthwiseSeparable(nn.Module):
    """A 3x3 depthwise convolution and a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, inputs, 3, stride, groups=inputs)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = _conv(inputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)))


def _network(layers: Sequence[tuple[str, nn.Module]]) -> nn.Sequential:
    """``layers`` under their names, convolutions initialised for ReLU (He 2015)."""
    network = nn.Sequential(OrderedDict(layers))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def _resnet(
    block: type[BasicBlock] | type[Bottleneck],
    depths: Sequence[int],
    widths: Sequence[int],
    num_classes: int = 10,
    in_channels: int = 3,
) -> nn.Module:
    """A 3x3 stem, ``depths[i]`` blocks of width ``widths[i]``; every stage but the first halves the image."""
    channels = widths[0]
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", _conv(in_channels, channels, 3)),
        ("bn1", nn.BatchNorm2d(channels)),
        ("relu", nn.ReLU()),
    ]
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
        blocks = []
        for index in range(depth):
            blocks.append(block(channels, width, 2 if stage > 1 and index == 0 else 1))
            channels = width * block.expansion
        layers.append((f"layer{stage}", nn.Sequential(*blocks)))
    layers += [
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(channels, num_classes)),
    ]
    return _network(layers)


def _vgg(depths: Sequence[int], num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """Five stages of ``depths[i]`` 3x3 convolutions with BatchNorm, a max-pool after each."""
    features: list[nn.Module] = []
    channels = in_channels
    for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
        for _ in range(depth):
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            features += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        features.append(nn.MaxPool2d(2))
    return _network(
        [
            ("features", nn.Sequential(*features)),
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("classifier", nn.Linear(channels, num_classes)),
        ]
    )


def mobilenet_v1(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    """MobileNet v1 with a stem of stride 1: 32 pixels leave a 2x2 map, as 224 leave 7x7 on ImageNet."""
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    channels, blocks = 32, []
    for width, stride in plan:
        blocks.append(DepthwiseSeparable(channels, width, stride))
        channels = width
    return _network(
        [
            ("conv1", _conv(in_channels, 32, 3)),
            ("bn1", nn.BatchNorm2d(32)),
            ("relu", nn.ReLU()),
            ("layers", nn.Sequential(*blocks)),
            ("avgpool", nn.AdaptiveAvgPool2d(1)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(channels, num_classes)),
        ]
    )


REGISTRY: dict[str, Callable[..., nn.Module]] = {
    **{
        f"resnet{6 * n + 2}": partial(_resnet, BasicBlock, (n, n, n), (16, 32, 64))
        for n in (1, 3, 5, 7, 9, 18)
    },
    "resnet18": partial(_resnet, BasicBlock, (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": partial(_resnet, Bottleneck, (3, 4, 6, 3), (64, 128, 256, 512)),
    "vgg13": partial(_vgg, (2, 2, 2, 2, 2)),
    "vgg16": partial(_vgg, (2, 2, 3, 3, 3)),
    "vgg19": partial(_vgg, (2, 2, 4, 4, 4)),
    "mobilenet_v1": mobilenet_v1,
}
"""Every bundled network, by the name that follows ``cifar:``."""

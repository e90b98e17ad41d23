"""torchvision's own operators, on networks with hand-worked groups and the masked oracle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import ops
from tracing import Net, check, free, reason


def test_channels_pass_through_regions_of_interest() -> None:
    def forward(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        boxes = [torch.tensor([[0.5, 1.0, 5.0, 6.0], [2.0, 0.0, 7.0, 4.0]], dtype=x.dtype)]
        h = m.stem(x)
        aligned = ops.roi_align(h, boxes, (3, 2), spatial_scale=0.5, sampling_ratio=2)
        pooled = ops.roi_pool(h, boxes, (3, 2), spatial_scale=0.5)
        return m.a(aligned.flatten(1)), m.b(pooled.flatten(1))

    net = Net(forward, stem=nn.Conv2d(3, 8, 3), a=nn.Linear(48, 4), b=nn.Linear(48, 4))
    space = check(net, 1, 3, 10, 10)
    assert free(space) == {"stem": 8}
    assert space.unknown_operators == ()


def test_a_deformable_convolution_is_one_but_for_its_offsets() -> None:
    layer = ops.DeformConv2d(6, 10, 3, padding=1)

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.stem(x)
        result: Tensor = m.out(m.layer(h, m.offset(h), m.mask(h).sigmoid()))
        return result

    net = Net(
        forward, stem=nn.Conv2d(3, 6, 1), layer=layer, offset=nn.Conv2d(6, 18, 1), mask=nn.Conv2d(6, 9, 1),
        out=nn.Conv2d(10, 2, 1),
    )  # fmt: skip
    space = check(net, 1, 3, 6, 6)
    assert free(space) == {"layer": 10}
    assert space.by_name["stem"].frozen is not None
    assert reason(space, "offset.weight") == "taps of a deformable convolution"


def test_a_grouped_deformable_convolution_keeps_its_channels() -> None:
    net = Net(
        lambda m, x: m.out(m.layer(m.stem(x), m.offset(x))),
        stem=nn.Conv2d(3, 6, 1), layer=ops.DeformConv2d(6, 10, 3, padding=1, groups=2),
        offset=nn.Conv2d(3, 18, 1), out=nn.Conv2d(10, 4, 1),
    )  # fmt: skip
    net = Net(lambda m, x: m.last(m.net(x)), net=net, last=nn.Conv2d(4, 2, 1))
    space = check(net, 1, 3, 6, 6)
    assert free(space) == {"net.out": 4}
    assert reason(space, "net.layer.weight") == "groups of a deformable convolution"

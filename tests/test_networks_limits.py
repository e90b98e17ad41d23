"""What a file may make a constructor take: seen before it is taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunecli.errors import InputError
from prunecli.networks.building import build
from prunecli.networks.limits import limited

SMALL = {"a": torch.zeros(4)}
HUGE = 1 << 40


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(HUGE),
        lambda: torch.arange(HUGE),
        lambda: torch.randn(1 << 20, 1 << 20),
        lambda: torch.arange(1 << 20)[:, None] - torch.arange(1 << 20),
        lambda: torch.zeros(1).repeat(HUGE),
        lambda: nn.BatchNorm2d(HUGE),
        lambda: [nn.Linear(1, 1) for _ in range(10_000)],
        lambda: build("torchvision:mobilenet_v2", {"width_mult": 1e6}),
    ],
)
def test_refused_before_it_is_there(make: object) -> None:
    assert callable(make)
    with limited(SMALL), pytest.raises(InputError, match=r"far more (memory|layers)"):
        make()


@pytest.mark.parametrize("spec", ["cifar:resnet20", "torchvision:resnet18", "torchvision:swin_t"])
def test_no_network_is_another_one_for_it(spec: str) -> None:
    plain = build(spec, {})[0]
    weights: dict[str, Tensor] = plain.state_dict()
    with limited(weights):
        watched = build(spec, {})[0]
    assert {n: t.shape for n, t in watched.state_dict().items()} == {n: t.shape for n, t in weights.items()}
    for name, buffer in watched.named_buffers():
        assert buffer.is_meta or torch.equal(buffer, plain.get_buffer(name))


def test_what_is_on_the_meta_device_or_a_view_costs_nothing() -> None:
    with limited(SMALL):
        table = torch.empty(HUGE, device="meta") + 1
        assert torch.zeros(2).expand(HUGE // 2, 2).shape[0] * 2 == table.numel()

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunecli.assembly import skeleton
from prunecli.inputs import Inputs
from prunecli.running.layers import Layers


class Net(nn.Module):
    """A norm that alone sees what a layer makes, one that does not, and a layer whose output is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.second, self.other = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).relu()
        y = self.second(x)
        x = self.other(y).relu() + y
        return self.head(x.flatten(2).transpose(1, 2)).relu()


def test_norms_are_found_without_arithmetic() -> None:
    layers = Layers(skeleton(Net()).eval())
    layers.run(Inputs((torch.zeros(1, 3, 4, 4, device="meta"),)))
    assert {name: layer.norm for name, layer in layers.of.items()} == {
        "first.weight": "norm.running_mean",
        "second.weight": None,
        "head.weight": None,
    }
    assert all(layer.active is None for layer in layers.of.values())


def test_a_channel_is_active_once_it_was_anything_but_zero() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.first.weight.fill_(1.0)
        net.norm.bias.copy_(torch.tensor([-5.0, 0.0, 0.0, -0.5]))
        net.head.weight.zero_()
        net.head.bias.copy_(torch.tensor([-1.0, 1.0]))
    layers = Layers(net, values=True)
    layers.run(Inputs((torch.zeros(2, 3, 4, 4),)))
    first = layers.of["first.weight"]
    assert first.active is not None and first.active.tolist() == [False, False, False, False]
    layers.run(Inputs((torch.full((2, 3, 4, 4), 0.3),)))
    assert first.active.tolist() == [False, True, True, True]
    head = layers.of["head.weight"].active
    assert head is not None and head.tolist() == [False, True]

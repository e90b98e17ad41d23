from __future__ import annotations

import torch
from torch import nn

from prunecli.assembly import all_tensors, working_copy
from prunecli.coupling import trace
from prunecli.dead.folding import folded
from prunecli.dead.readings import read
from prunecli.inputs import Inputs


def test_constants_go_into_means_and_biases_with_the_right_sign() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 2, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3)
    ).eval()  # fmt: skip
    with torch.no_grad():
        net[0].weight[[1, 3]] = 0
        net[0].bias[[1, 3]] = torch.tensor([2.0, -1.0])
    inputs = Inputs((torch.randn(1, 3, 8, 8),))
    network = working_copy(net, dtype=torch.float64)
    tensors = all_tensors(network)
    space = trace(net, inputs)
    after, changed = folded(tensors, space, read(net, inputs), {"0": (0, 1, 2)})
    assert changed == ("2.running_mean",)
    given = tensors["1.weight"][:, 3].sum((1, 2)) * -1.0
    assert torch.allclose(after["2.running_mean"], tensors["2.running_mean"] - given)
    assert folded(tensors, space, read(net, inputs), {})[1] == ()

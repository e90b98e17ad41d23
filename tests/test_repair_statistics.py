from __future__ import annotations

import torch
from torch import Tensor, nn

from prunecli.inputs import Inputs
from prunecli.repair.statistics import recalibrate
from prunecli.running.chunks import one_thread_each


def test_every_norm_has_the_statistics_of_what_it_sees() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.Flatten(),
        nn.Linear(64, 5), nn.BatchNorm1d(5),
    ).eval()  # fmt: skip
    net.requires_grad_(False)
    x = torch.randn(10, 3, 8, 8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with one_thread_each(torch.device("cpu")) as chunks:
        assert recalibrate(net, [Inputs((part,)) for part in x.split(4)], chunks) == 3
    seen: dict[nn.Module, Tensor] = {}
    norms = [layer for layer in net if hasattr(layer, "running_mean")]
    for layer in norms:
        layer.register_forward_hook(lambda norm, given, out: seen.__setitem__(norm, given[0]))
    net(x)
    for layer in norms:
        rows = seen[layer].movedim(1, -1).flatten(0, -2).double()
        assert torch.allclose(layer.running_mean.double(), rows.mean(0), atol=1e-5)
        assert torch.allclose(layer.running_var.double(), rows.var(0), rtol=1e-5)
    for name, tensor in net.state_dict().items():
        assert "running" in name or torch.equal(tensor, before[name])


def test_a_network_without_norms_is_left() -> None:
    net = nn.Linear(3, 2).eval().requires_grad_(False)
    with one_thread_each(torch.device("cpu")) as chunks:
        assert recalibrate(net, [Inputs((torch.randn(4, 3),))], chunks) == 0

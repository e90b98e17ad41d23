from __future__ import annotations

import torch
from torch import Tensor, nn

from prunecli.dead.readings import read
from prunecli.inputs import Inputs


def test_matrices_and_places_of_all_kinds_of_operations() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 6, 3, groups=2, bias=False)
            self.norm = nn.BatchNorm2d(6)
            self.up = nn.ConvTranspose2d(6, 4, 2, groups=2)
            self.table = nn.Parameter(torch.randn(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.up(self.norm(self.conv(x))).mean((2, 3)) @ self.table

    net = Net().eval()
    of = read(net, Inputs((torch.randn(1, 4, 6, 6),))).of
    conv, up, table = (of[name][0] for name in ("conv.weight", "up.weight", "table"))
    assert conv.place is not None and (conv.place.name, conv.place.sign) == ("norm.running_mean", -1)
    assert up.place is not None and up.place.name == "up.bias"
    assert table.place is None
    assert (conv.inputs_along(1), conv.inputs_along(0)) == ((0, 2, False), None)
    assert (up.inputs_along(0), up.inputs_along(1)) == ((0, 6, True), None)
    assert (table.inputs_along(0), table.inputs_along(1)) == ((0, 4, False), None)
    assert (conv.even, up.even, table.even) == (True, False, True)
    # [G, O/G, I/G, taps]: by what one input gives each output.
    weight = net.up.weight.detach()
    assert up.matrix(weight).shape == (2, 2, 3, 4)
    assert torch.equal(up.matrix(weight)[1, 0, 2], weight[5, 0].flatten())
    assert torch.equal(table.matrix(net.table.detach())[0, :, :, 0], net.table.detach().t())


def test_a_weight_used_twice_has_the_constants_of_both_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared = nn.Linear(3, 4), nn.Linear(4, 4)
            self.last = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            return self.last(self.shared(self.shared(x).relu()).relu())

    net = Twice().eval()
    with torch.no_grad():
        for layer, constants in ((net.first, [0.5, 0.25]), (net.shared, [0.5, 0.75])):
            layer.weight[:2] = 0
            layer.bias[:2] = torch.tensor(constants)
    shared = read(net, Inputs((torch.randn(1, 3),))).of["shared.weight"][0]
    assert shared.dead[0].tolist() == [True, True, False, False]
    assert shared.arrives[0, 0] == 0.5
    assert shared.arrives[0, 1:].isnan().all()


def test_weights_made_of_a_parameter_are_not_followed() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3))

        def forward(self, x: Tensor) -> Tensor:
            return x @ (self.weight - self.weight.mean(1, keepdim=True)).t()

    readings = read(Standardised().eval(), Inputs((torch.randn(1, 3),)))
    assert "weight" in readings.unfollowed and "weight" not in readings.of

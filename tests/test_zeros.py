from __future__ import annotations

import torch
from resnet8 import resnet8
from torch import Tensor, nn

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples
from prunecli.data.samples import Batch
from prunecli.inputs import Inputs
from prunecli.report.sparse import LayerSparsity
from prunecli.zeros import sparsity, two_four

PICTURE = (InputSpec(None, "float32", (1, 3, 32, 32)),)


def rows(
    net: nn.Module, specs: tuple[InputSpec, ...] = PICTURE, samples: Samples | None = None
) -> dict[str, LayerSparsity]:
    return {row.name: row for row in sparsity(net, specs, 10**7, samples)}


def test_counts_by_hand() -> None:
    net = resnet8()
    layer, norm = net.layer1[0].conv1, net.layer1[0].bn1
    layer.weight.data[[1, 2]] = 0
    layer.weight.data[3, 0, 0, 0] = 1e-9
    norm.weight.data[[2, 5]] = 0
    for tensor in (layer.weight.data, norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor[9] = tensor[8]
    layer.weight.data[11] = layer.weight.data[12]
    found = rows(net)["layer1.0.conv1"]
    assert (found.params, found.zeros, found.channels) == (2304, 288, 16)
    near = (layer.weight.abs() < 1e-3 * layer.weight.square().mean().sqrt()) & (layer.weight != 0)
    assert found.near_zeros == int(near.sum()) >= 1
    assert found.dead == 3, "rows 1 and 2, and gamma of 2 and 5"
    assert found.duplicates == 1, "9 is 8; 11 and 12 have other norms"
    assert found.two_four == 288 / 2304
    assert found.inactive is None


def test_minus_zero_is_zero_and_groups_read_other_inputs() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2, bias=False), nn.Conv2d(4, 4, 1, bias=False)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, -0.0], [1.0, 0.0], [2.0, 0.0]])[..., None, None])
        net[1].weight.fill_(1.0)
    found = rows(net, (InputSpec(None, "float32", (1, 4, 2, 2)),))
    assert (found["0"].duplicates, found["1"].duplicates) == (1, 3)
    assert (found["0"].two_four, found["1"].two_four) == (None, 0.0)


def test_floats_of_eight_bits_are_counted_too() -> None:
    net = nn.Sequential(nn.Linear(4, 2, bias=False)).eval()
    weight = torch.tensor([[0.0, 1.0, 0.0, 2.0], [1.0, 1.0, 1.0, 0.0]])
    net[0].weight = nn.Parameter(weight.to(torch.float8_e4m3fn), requires_grad=False)
    found = rows(net, (InputSpec(None, "float32", (1, 4)),))["0"]
    assert (found.params, found.zeros) == (8, 3)


def test_two_of_four_against_a_loop() -> None:
    torch.manual_seed(0)
    pattern = torch.rand(6, 8, 3) < 0.5
    runs = [
        int(pattern[o, i : i + 4, k].sum()) <= 2 for o in range(6) for i in (0, 4) for k in range(3)
    ]  # fmt: skip
    assert two_four(pattern) == sum(runs) / len(runs)
    assert two_four(pattern[:, :6]) is None


def test_layers_that_nothing_is_multiplied_by_have_no_channels() -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(5, 4), nn.Linear(4, 3)
            nn.init.zeros_(self.table.weight[0].data)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids)[:, 0] if ids.max() > 0 else self.table(ids)[:, 1])

    found = rows(Words().eval(), (InputSpec(None, "int64", (1, 2), (0, 4)),))
    assert (found["table"].channels, found["table"].zeros) == (0, 4)
    assert found["head"].channels == 3, "found though forward looks at values"


def test_transposed_convolutions_have_their_channels_second() -> None:
    net = nn.Sequential(nn.ConvTranspose2d(4, 6, 2, groups=2)).eval()
    net[0].weight.data[2:, 1] = 0
    found = rows(net, (InputSpec(None, "float32", (1, 4, 2, 2)),))["0"]
    assert (found.channels, found.dead, found.two_four) == (6, 1, None)


def test_with_data_what_is_never_active_is_counted() -> None:
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        net[0].bias.zero_()
    samples = Samples([Batch(Inputs((torch.rand(50, 2) + 0.1,)), None)], "mine")
    found = rows(net, (InputSpec(None, "float32", (1, 2)),), samples)
    assert (found["0"].inactive, found["0"].dead, found["2"].inactive) == (2, 1, 0)

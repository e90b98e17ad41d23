"""The same structure around other tensors."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from prunecli.assembly import (
    all_tensors,
    evaluating,
    rebuilt,
    same_along,
    shortened,
    skeleton,
    without_recurrent_kernels,
)


class Net(nn.Module):
    """A tied pair of weights, a buffer in the state_dict and one outside it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 6, bias=False)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(4, 6)
        self.head.weight = self.embed.weight
        self.register_buffer("table", torch.arange(6.0), persistent=False)
        self.embed.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.embed(x)) + self.head(x) + self.table


def test_every_name_of_a_tied_tensor_is_there() -> None:
    net = Net()
    found = all_tensors(net)
    assert found["embed.weight"] is found["head.weight"]
    assert set(found) == {*net.state_dict(), "table"}


def test_a_skeleton_has_no_storage_and_the_same_structure() -> None:
    net = Net().eval()
    copy = skeleton(net)
    assert all(tensor.is_meta for tensor in all_tensors(copy).values())
    assert {n: t.shape for n, t in all_tensors(copy).items()} == {
        n: t.shape for n, t in all_tensors(net).items()
    }
    assert copy.embed.weight is copy.head.weight
    assert not copy.embed.weight.requires_grad
    assert copy.norm.weight.requires_grad
    assert [m.training for m in copy.modules()] == [m.training for m in net.modules()]
    assert not any(tensor.is_meta for tensor in all_tensors(net).values())


def test_rebuilt_around_its_own_tensors_is_the_same_network() -> None:
    net, x = Net().eval(), torch.randn(3, 4)
    copy = rebuilt(net, all_tensors(net))
    assert torch.equal(copy(x), net(x))
    assert copy.embed.weight is copy.head.weight
    assert list(copy.state_dict()) == list(net.state_dict())
    assert not copy.embed.weight.requires_grad
    assert "table" not in copy.state_dict()
    assert copy.norm is not net.norm


def test_rebuilt_takes_other_sizes() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2))
    smaller = {"0.weight": torch.ones(3, 4), "0.bias": torch.ones(3), "1.weight": torch.ones(2, 3)}
    copy = rebuilt(net, {**all_tensors(net), **smaller})
    assert copy(torch.ones(1, 4)).shape == (1, 2)
    assert isinstance(copy[0].weight, nn.Parameter)
    assert net[0].weight.shape == (6, 4)


def test_rebuilt_needs_every_tensor() -> None:
    with pytest.raises(KeyError, match="bias"):
        rebuilt(nn.Linear(2, 2), {"weight": torch.ones(2, 2)})


def test_submodules_with_two_names_and_cached_tensors_are_copied() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net.again = net[0]
    net.cache = net[0].weight * 2  # not a leaf: deepcopy refuses it
    copy = rebuilt(net, all_tensors(net))
    assert copy.again is copy[0]
    assert torch.equal(copy.cache, net.cache)


@pytest.mark.parametrize("fails", [False, True])
def test_evaluating_gives_every_submodule_its_mode_back(fails: bool) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()).train()
    net[1].eval()  # a frozen norm in a network that trains
    before = [module.training for module in net.modules()]
    try:
        with evaluating(net) as same:
            assert same is net
            assert not any(module.training for module in net.modules())
            if fails:
                raise ValueError
    except ValueError:
        pass
    assert [module.training for module in net.modules()] == before


NAN = float("nan")


@pytest.mark.parametrize(
    ("tensor", "same"),
    [
        (torch.zeros(4), (True,)), (torch.arange(4.0), (False,)), (torch.tensor([0.0, -0.0]), (False,)),
        (torch.full((3,), NAN), (True,)), (torch.ones(3, dtype=torch.bool), (True,)),
        (torch.ones(1), (True,)),
        (torch.tensor([5, 5, 5, 6]), (False,)), (torch.ones(3, dtype=torch.bfloat16), (True,)),
        (torch.full((2,), 1 + 2j), (True,)), (torch.full((2,), 1 + 2j).conj(), (True,)),
        (torch.full((2,), 1 + 2j).conj().imag, (True,)), (torch.ones(2, dtype=torch.float8_e4m3fn), (True,)),
        (torch.arange(3.0).expand(4, 3), (True, False)),
        (torch.arange(3.0)[:, None].expand(3, 4), (False, True)), (torch.eye(3), (False, False)),
        (torch.ones(2, 3, device="meta"), (False, False)), (torch.ones(2, 2).to_sparse(), (False, False)),
        (torch.ones(0, 3), (False, False)), (torch.tensor(1.0), ()),
        (torch.zeros(1, 5, dtype=torch.int64), (True, True)), (torch.arange(5)[None], (True, False)),
        (torch.arange(5)[:, None], (False, True)),
        (torch.arange(24).view(2, 3, 4)[:1, :, 2:3], (True, False, True)),
        (torch.ones(4, 6, 2).transpose(0, 2)[::2, ::3], (True, True, True)),
    ],
)  # fmt: skip
def test_along_which_dimensions_all_slices_are_the_same(tensor: Tensor, same: tuple[bool, ...]) -> None:
    assert tuple(same_along(tensor, dim) for dim in range(tensor.dim())) == same


def test_shortened_is_every_selection_or_none() -> None:
    table = torch.arange(3.0).expand(4, 3)
    short = shortened(table, (2, 3))
    assert short is not None
    assert torch.equal(short, table[[1, 3]])
    assert short.untyped_storage().nbytes() == 2 * 3 * 4, "it does not keep the whole alive"
    for shape in ((4, 2), (5, 3), (2,), (4, 3, 1)):
        assert shortened(table, shape) is None, shape
    whole = shortened(torch.arange(3.0), (3,))
    assert whole is not None
    assert torch.equal(whole, torch.arange(3.0))


def test_of_whatever_shape_and_strides_it_is_the_same_as_comparing_slices() -> None:
    rng = random.Random(0)
    torch.manual_seed(0)
    for _ in range(300):
        rank = rng.randrange(1, 5)
        wide = torch.randint(0, 2, [2 * rng.randrange(1, 4) for _ in range(rank)])
        tensor = wide.permute(rng.sample(range(rank), rank))[(slice(None, None, 2),) * rank]
        for dim in range(rank):
            first, *others = tensor.unbind(dim)
            assert same_along(tensor, dim) is all(torch.equal(first, other) for other in others)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_buffer_is_not_looked_into() -> None:
    assert not same_along(torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.qint8), 0)


def test_recurrent_layers_step_by_step_are_the_same() -> None:
    torch.manual_seed(0)
    layer, x = nn.LSTM(4, 6, bidirectional=True), torch.randn(5, 3, 4)
    with torch.no_grad():
        wanted = layer(x)[0]
        with without_recurrent_kernels():
            assert not torch.backends.mkldnn.enabled
            found = layer(x)[0]
        assert torch.backends.mkldnn.enabled
    assert torch.allclose(found, wanted, atol=1e-6)

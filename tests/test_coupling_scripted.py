"""TorchScript and C++: what meets them stays, everything else is pruned, and the report says so."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from tracing import Net, check, check_macs, example, free, reason

import prunecli
from prunecli.assembly import all_tensors, rebuilt


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module)


def traced(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.trace(module, torch.randn(2, 8))


def around(inner: nn.Module) -> Net:
    return Net(
        lambda m, x: m.d(F.relu(m.c(m.inner(F.relu(m.b(F.relu(m.a(x)))))))),
        a=nn.Linear(4, 6), b=nn.Linear(6, 8), inner=inner, c=nn.Linear(8, 10), d=nn.Linear(10, 2),
    )  # fmt: skip


def block() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()).eval()


@pytest.mark.parametrize("make", [scripted, traced])
def test_a_torchscript_block_stays_and_the_rest_is_pruned(make: object) -> None:
    net = around(make(block()))  # type: ignore[operator]
    before = {name: tensor.clone() for name, tensor in all_tensors(net).items()}
    space = check(net, 3, 4)
    assert free(space) == {"a": 6, "c": 10}
    assert space.unknown_operators == ("torchscript.inner",)
    assert reason(space, "b.weight", 0) == "it meets 'inner', which is TorchScript"
    assert reason(space, "inner.0.weight", 0) == "it belongs to a TorchScript module"
    assert reason(space, "c.weight", 1) == "it meets 'inner', which is TorchScript"
    check_macs(net, space, example(3, 4), counter="torch")
    after = all_tensors(net)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_copy_around_other_tensors_reaches_into_torchscript() -> None:
    net = around(scripted(block()))
    doubled = rebuilt(net, {name: tensor.double() for name, tensor in all_tensors(net).items()})
    assert doubled(example(3, 4).double()).dtype == torch.float64
    assert net(example(3, 4)).dtype == torch.float32
    assert doubled.inner is not net.inner


def test_a_network_with_torchscript_is_pruned_saved_and_loaded(tmp_path: object) -> None:
    net, x = around(scripted(block())), example(3, 4)
    result = prunecli.prune(net, example_inputs=x, ratio=0.5)
    assert any("torchscript.inner" in note for note in result.report.notes)
    path = f"{tmp_path}/small.safetensors"
    result.save(path)
    loaded = prunecli.load(path, into=around(scripted(block())))
    assert torch.equal(loaded(x), result.model(x))


def test_a_whole_torchscript_network_is_refused() -> None:
    with pytest.raises(prunecli.errors.InputError, match="the network is TorchScript"):
        prunecli.prune(scripted(block()), example_inputs=torch.randn(2, 8), ratio=0.5)


@pytest.fixture(scope="module")
def functions() -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"pointwise": torch.jit.script(gated), "reshaping": torch.jit.script(folded)}


def gated(x: Tensor, scale: float) -> Tensor:
    return x * torch.sigmoid(x * scale)


def folded(x: Tensor, groups: int) -> Tensor:
    return x.view(x.size(0), groups, -1).flip(1).flatten(1)


def test_a_torchscript_function_of_pointwise_operators_passes(functions: dict[str, object]) -> None:
    swish = functions["pointwise"]
    net = Net(lambda m, x: m.b(swish(m.a(x), 1.7)), a=nn.Linear(4, 6), b=nn.Linear(6, 3))  # type: ignore[operator]
    space = check(net, 2, 4)
    assert free(space) == {"a": 6}
    assert not space.unknown_operators


def test_a_torchscript_function_that_reshapes_keeps_what_it_reshapes(functions: dict[str, object]) -> None:
    """The 3 groups are a number that only TorchScript knows."""
    fold = functions["reshaping"]
    net = Net(
        lambda m, x: m.c(F.relu(m.b(fold(m.a(x), 3)))),  # type: ignore[operator]
        a=nn.Linear(4, 6), b=nn.Linear(6, 8), c=nn.Linear(8, 3),
    )  # fmt: skip
    space = check(net, 2, 4)
    assert free(space) == {"b": 8}
    assert space.unknown_operators == ("aten.view in TorchScript or C++ code",)
    assert "numbers that cannot be seen" in reason(space, "a.weight")

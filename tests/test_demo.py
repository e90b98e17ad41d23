"""The demo: what is shipped, and one run of it measured independently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from prunecli import demo, load
from prunecli.demo.data import digits
from prunecli.demo.train import add_group_lasso, train, unit_norms, units
from prunecli.errors import ImpossibleError, UsageError
from prunecli.networks.cifar import REGISTRY

FOLDER = Path(demo.__file__).parent


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[demo.DemoResult, Path]:
    output = tmp_path_factory.mktemp("demo") / "digits.safetensors"
    return demo.run(output), output


def test_shipped_files_are_small() -> None:
    assert (FOLDER / demo.CHECKPOINT).stat().st_size < 1_000_000
    assert (FOLDER / "digits.npz").stat().st_size < 100_000
    assert "CC BY 4.0" in (FOLDER / "DATA_LICENSE.txt").read_text(encoding="utf-8")


def test_the_split_is_balanced_and_complete() -> None:
    training, test = digits(test=False), digits(test=True)
    assert training.images.shape == (1437, 1, 8, 8)
    assert test.labels.bincount().tolist() == [36] * 10
    assert float(test.images.min()) == -1.0
    assert float(test.images.max()) == 1.0


def test_the_data_are_those_of_scikit_learn() -> None:
    source = pytest.importorskip("sklearn.datasets").load_digits()
    with np.load(FOLDER / "digits.npz") as stored:
        np.testing.assert_array_equal(stored["images"], source.images)
        np.testing.assert_array_equal(stored["labels"], source.target)


def test_the_dense_network_is_accurate() -> None:
    assert demo.accuracy(demo.dense()) >= 99.0


def test_accuracy_of_a_constant_answer_is_a_tenth() -> None:
    class Constant(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot(torch.full((len(x),), 3), 10).float()

    assert demo.accuracy(Constant()) == 10.0


def test_the_run_halves_the_arithmetic_and_keeps_the_accuracy(run: tuple[demo.DemoResult, Path]) -> None:
    result, _ = run
    assert result.report.before.macs / result.report.after.macs == pytest.approx(2, rel=0.005)
    assert result.accuracy_before >= 99.0
    assert result.accuracy_after >= result.accuracy_before - 2.0
    assert result.images == 360


def test_the_file_is_smaller_and_is_what_was_measured(run: tuple[demo.DemoResult, Path]) -> None:
    result, output = run
    data, network = digits(test=True), load(output)
    right = sum(
        int(network(image[None]).argmax()) == int(label)
        for image, label in zip(data.images, data.labels, strict=True)
    )
    assert result.accuracy_after == pytest.approx(100 * right / 360)
    kept = sum(tensor.numel() for tensor in load_file(output).values())
    assert kept < sum(tensor.numel() for tensor in load_file(FOLDER / demo.CHECKPOINT).values())


def test_an_existing_output_needs_force(run: tuple[demo.DemoResult, Path]) -> None:
    result, output = run
    before = output.read_bytes()
    with pytest.raises(UsageError):
        demo.run(output)
    again = demo.run(output, force=True)
    assert output.read_bytes() == before
    assert again == replace(result, report=again.report)


def test_an_unreachable_speedup_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ImpossibleError):
        demo.run(tmp_path / "small.safetensors", speedup=100_000)
    assert not list(tmp_path.iterdir())


def test_units_of_the_trainer_cover_every_weight_twice_but_the_edges() -> None:
    network = REGISTRY["resnet8"](in_channels=1)
    seen = [(parameter, dim) for slices in units(network) for parameter, dim in slices]
    ids = {(id(parameter), dim) for parameter, dim in seen}
    assert len(ids) == len(seen)
    free = {
        (name, dim)
        for name, parameter in network.named_parameters()
        for dim in range(min(parameter.dim(), 2))
        if (id(parameter), dim) not in ids
    }
    assert free == {("conv1.weight", 1), ("fc.weight", 0), ("fc.bias", 0)}


def test_the_lasso_gradient_is_the_derivative_of_the_sum_of_norms() -> None:
    torch.manual_seed(0)
    network = REGISTRY["resnet8"](in_channels=1).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
        parameter.grad = torch.zeros_like(parameter)
    slices = units(network)[0]
    rows = [p.movedim(dim, 0).reshape(p.shape[dim], -1) for p, dim in slices]
    penalty = 0.3 * torch.cat(rows, dim=1).norm(dim=1).sum()
    expected = torch.autograd.grad(penalty, [p for p, _ in slices])
    add_group_lasso(slices, 0.3)
    for (parameter, _), gradient in zip(slices, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(unit_norms(slices), torch.cat(rows, dim=1).norm(dim=1).detach())


def test_training_is_reproducible() -> None:
    first = train(epochs=1, strength=1e-3, seed=5)
    second = train(epochs=1, strength=1e-3, seed=5)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert not first.training

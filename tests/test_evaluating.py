from __future__ import annotations

from pathlib import Path

import pytest
import torch
from resnet8 import Own, resnet8
from torch import Tensor, nn

import prunecli
from prunecli.data import Samples, open_data
from prunecli.errors import InputError, UsageError
from prunecli.report.figures import Quality

DATA = {"data": "digits", "samples": 40}


def accuracy(module: nn.Module, samples: Samples) -> float:
    """One by one, in a plain loop."""
    right = total = 0
    for chunk in samples.chunks(1):
        assert chunk.labels is not None
        with torch.no_grad():
            right += int(chunk.inputs.run(module).argmax()) == int(chunk.labels)
        total += 1
    return right / total


@pytest.fixture(scope="module")
def taken(saved: Path) -> Samples:
    """What evaluations below are taken on."""
    specs = (prunecli.inspect(resnet8(), inputs=("3,32,32",)).inputs[0],)
    from prunecli.checkpoint.specs import InputSpec

    assert specs[0].shape == (1, 3, 32, 32)
    return open_data("digits", (InputSpec(None, "float32", (1, 3, 32, 32)),), samples=40, part="test")


def test_a_dense_checkpoint(checkpoint: Path, taken: Samples) -> None:
    found = prunecli.evaluate(checkpoint, **DATA)  # type: ignore[arg-type]
    assert found.quality.top1 == accuracy(resnet8(), taken)
    assert found.quality.agreement is found.dense is found.against is None
    assert found.network.spec == "cifar:resnet8"
    assert (found.data.origin, found.data.samples, found.data.labelled) == ("digits", 40, True)
    assert list(found.timings) == ["read", "data", "evaluate"]


def test_a_pruned_one_against_the_dense_one(checkpoint: Path, saved: Path, taken: Samples) -> None:
    found = prunecli.evaluate(saved, against=checkpoint, **DATA)  # type: ignore[arg-type]
    small, dense = prunecli.load(saved), resnet8()
    assert found.quality.top1 == accuracy(small, taken)
    assert found.dense is not None
    assert found.dense.top1 == accuracy(dense, taken)
    (chunk,) = taken.chunks(40)
    with torch.no_grad():
        ours, wanted = (chunk.inputs.run(module).double() for module in (small, dense))
    assert found.quality.error == pytest.approx(float((ours - wanted).norm() / wanted.norm()), rel=1e-4)
    assert found.quality.agreement == float((ours.argmax(1) == wanted.argmax(1)).double().mean())
    assert found.against is not None
    assert found.against.name == checkpoint.name
    by_module = prunecli.evaluate(saved, against=dense, data=taken)
    assert by_module.against is None
    assert by_module.quality == found.quality


def test_the_same_again_and_in_other_batches(checkpoint: Path) -> None:
    first, again, small = (
        prunecli.evaluate(checkpoint, batch_size=size, **DATA).quality  # type: ignore[arg-type]
        for size in (64, 64, 7)
    )
    assert first == again
    assert isinstance(small, Quality)
    assert small.top1 == first.top1
    assert small.loss == pytest.approx(first.loss, rel=1e-4)


def test_a_module_keeps_its_mode_and_runs_on_its_own_inputs(taken: Samples) -> None:
    module = Own().train()
    with pytest.raises(InputError, match=r"the data has label \d, the network 4 classes"):
        prunecli.evaluate(module, example_inputs=torch.zeros(1, 3, 32, 32), data=taken)
    found = prunecli.evaluate(
        module, example_inputs=torch.zeros(1, 3, 32, 32), data="noise", against=Own(), samples=5
    )
    assert found.quality.samples == 5
    assert found.checkpoint is None
    assert module.training


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.scale, x


def test_where_there_is_nothing_to_measure(checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="noise has no labels") as caught:
        prunecli.evaluate(checkpoint, data="noise")
    assert caught.value.hint == "--against DENSE"
    with pytest.raises(UsageError, match="not one row of scores per sample"):
        prunecli.evaluate(Pair(), example_inputs=torch.zeros(1, 1, 8, 8), data="digits")
    found = prunecli.evaluate(Pair(), example_inputs=torch.zeros(1, 1, 8, 8), data="digits", against=Pair())
    assert found.quality.error == 0.0
    with pytest.raises(UsageError, match="--batch-size 0"):
        prunecli.evaluate(checkpoint, data="digits", batch_size=0)


def test_a_class_count_that_is_not_the_networks_is_told() -> None:
    notes = prunecli.evaluate(
        Own(5), example_inputs=torch.zeros(1, 3, 32, 32), data=_labelled(3), samples=None
    ).notes
    assert notes == ("the data tells 3 classes apart and the network 4: are the labels counted alike?",)
    assert not prunecli.evaluate(Own(5), example_inputs=torch.zeros(1, 3, 32, 32), data=_labelled(4)).notes


def _labelled(classes: int) -> Samples:
    from prunecli.data import Batch
    from prunecli.inputs import Inputs

    batch = Batch(Inputs((torch.zeros(2, 3, 32, 32),)), torch.tensor([0, 1]))
    return Samples((batch,), "x", classes=classes)

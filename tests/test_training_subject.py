from __future__ import annotations

from pathlib import Path

import torch
from resnet8 import resnet8
from safetensors.torch import save_file
from torch import nn

import prunecli
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.reading import read
from prunecli.opening import Naming
from prunecli.training.subject import Trainee, open_trainee, recipe_after

PLAIN = Naming(None, None, None, ())


def opened(path: Path) -> Trainee:
    return open_trainee(path, PLAIN)


def test_a_pruned_file_keeps_its_recipe(saved: Path) -> None:
    trainee = opened(saved)
    recipe = read(saved).recipe
    assert recipe is not None
    tensors = {name: tensor + 1 for name, tensor in trainee.module.state_dict().items()}
    after = recipe_after(trainee, tensors, {"finetune.epochs": 3})
    assert after.changed_by == ("finetune",)
    assert after.digests == tensor_digests(tensors)
    same = ("arch", "shapes", "patches", "plan", "cut_digests", "source_digest", "inputs")
    assert all(getattr(after, name) == getattr(recipe, name) for name in same)
    assert after.options == {**recipe.options, "finetune.epochs": 3}


def test_what_was_repaired_or_finetuned_before_is_still_named(saved: Path) -> None:
    from dataclasses import replace

    trainee = opened(saved)
    for before, wanted in ((("repair bn",), ("repair bn", "finetune")), (("finetune",), ("finetune",))):
        recipe = trainee.subject.recipe
        assert recipe is not None
        changed = Trainee(replace(trainee.subject, recipe=replace(recipe, changed_by=before)))
        assert recipe_after(changed, trainee.module.state_dict(), {}).changed_by == wanted


def test_a_dense_file_gets_a_recipe_that_cuts_nothing(checkpoint: Path) -> None:
    trainee = opened(checkpoint)
    dense = resnet8().state_dict()
    after = recipe_after(trainee, {name: tensor + 1 for name, tensor in dense.items()}, {})
    assert (after.arch, after.plan.keep, after.patches) == ("cifar:resnet8", {}, ())
    assert after.shapes == {name: tuple(tensor.shape) for name, tensor in dense.items()}
    assert after.cut_digests == tensor_digests(dense)
    assert after.source_digest == read(checkpoint).digest


def test_a_copy_is_trained_and_the_network_stays(checkpoint: Path) -> None:
    trainee = opened(checkpoint)
    network = trainee.working(torch.device("cpu"), channels_last=True)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 1
    wanted = resnet8().state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in trainee.module.state_dict().items())
    done = trainee.finished(network)
    assert not done.training
    assert torch.equal(done.conv1.weight, wanted["conv1.weight"] + 1)
    assert done.conv1.weight.is_contiguous()
    assert not trainee.notes


def test_half_precision_is_trained_in_full(tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    halves = {
        name: tensor.bfloat16() if tensor.is_floating_point() else tensor
        for name, tensor in resnet8().state_dict().items()
    }
    save_file(halves, path)
    trainee = opened(path)
    assert trainee.is_half
    assert [spec.dtype for spec in trainee.specs] == ["float32"]
    assert trainee.notes == ("weights are bfloat16: trained in float32 and written as bfloat16 again",)
    network = trainee.working(torch.device("cpu"), channels_last=False)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    done = trainee.finished(network)
    assert all(torch.equal(tensor, halves[name]) for name, tensor in done.state_dict().items())
    found = prunecli.finetune(path, data="digits", samples=16, epochs=1, batch_size=8)
    found.save(tmp_path / "out.safetensors")
    assert prunecli.load(tmp_path / "out.safetensors").conv1.weight.dtype == torch.bfloat16


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x))


def test_shared_weights_stay_shared() -> None:
    trainee = open_trainee(Shared(), Naming(torch.zeros(1, 3), None, None, ()))
    network = trainee.working(torch.device("cpu"), channels_last=False)
    assert network.one.weight is network.two.weight
    assert trainee.finished(network).one.weight is not trainee.module.one.weight

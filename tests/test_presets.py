from __future__ import annotations

import inspect
from typing import Any

import pytest

import prunecli
from prunecli.errors import UsageError
from prunecli.presets import PRESETS, TUNED, preset
from prunecli.regularizers import find_regularizer
from prunecli.training.asked import Trainings


def asked_by(found: dict[str, Any], **more: Any) -> Trainings:
    names = inspect.signature(Trainings).parameters
    return Trainings(**{key: value for key, value in {**found, **more}.items() if key in names})


@pytest.mark.parametrize("name", list(PRESETS))
def test_each_is_arguments_of_prune_that_can_be(name: str) -> None:
    found = preset(name)
    assert set(found) <= set(inspect.signature(prunecli.prune).parameters)
    more = {} if "sparsify_epochs" in found or "sparsify" not in found else {"sparsify_epochs": 3}
    asked = asked_by(found, **more)
    asked.check(data=True, steps=1, planned=False)
    assert asked.any


@pytest.mark.parametrize("task", list(TUNED))
def test_every_tuned_regularizer_takes_its_numbers(task: str) -> None:
    for regularizer, criterion in TUNED[task]:
        found = preset(f"pruningbench:{task}", sparsify=regularizer, criterion=criterion)
        assert found["criterion"] == criterion
        asked = asked_by(found, sparsify=regularizer)
        asked.check(data=True, steps=1, planned=False)
        find_regularizer(regularizer).values(asked.numbers)


def test_numbers_of_the_papers() -> None:
    """Cells of PruningBench's Table 7 and of GReg's Table 5, read from the papers."""
    bench = preset("pruningbench:resnet50-cifar100", sparsify="group-lasso", criterion="bn-scale")
    before, after = asked_by(bench, sparsify="group-lasso"), bench["finetune_args"]
    assert before.numbers == {"strength": 5e-5}
    settings = before.settings_before(0)
    assert (settings.epochs, settings.lr, settings.weight_decay, settings.batch_size) == (
        100,
        0.01,
        5e-4,
        128,
    )
    assert (bench["finetune_epochs"], after["lr"], after["milestones"]) == (100, 0.01, (60, 80))
    growing = preset("pruningbench:resnet18-imagenet", sparsify="growing-reg")
    assert asked_by(growing, sparsify="growing-reg").numbers == {"strength": 1e-4, "delta": 5e-5}
    assert asked_by(growing, sparsify="growing-reg").settings_before(0).lr == 5e-3
    for speedup, rate in ((2.0, 1.5e-5), (4.0, 1.5e-4)):
        vit = preset("pruningbench:vit-small-imagenet", sparsify="group-norm", speedup=speedup)
        assert vit["finetune_args"]["lr"] == vit["sparsify_args"]["lr"] == rate
    greg = preset("greg:cifar")
    assert (greg["sparsify"], greg["finetune_epochs"]) == ("greg-1", 120)
    assert asked_by(greg).numbers == {"delta": 1e-4, "every": 10}
    assert greg["finetune_args"]["milestones"] == (60, 90)


def test_greg_has_the_steps_of_algorithm_1() -> None:
    """Until lambda is tau by delta every K_u steps, and K_s more: 196 steps in an epoch of CIFAR."""
    for name, growing in (("greg-1", 1 / 1e-4 * 10), ("greg-2", 0.01 / 1e-5 * 10 + (1 - 0.01) / 1e-4 * 10)):
        found = preset("greg:cifar", sparsify=name)
        assert found["sparsify_epochs"] * 196 == pytest.approx(growing + 5000, abs=196)


def test_rounds_are_taken_off_the_epochs() -> None:
    found = preset("gradient-flow:cifar", rounds=25)
    assert (found["rounds"], found["finetune_epochs"]) == (25, 135)
    assert found["finetune_args"]["milestones"] == (55, 95)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("greg:cifra", {}, "unknown preset 'greg:cifra'"),
        ("greg:fast", {"sparsify": "bn-scale"}, "for greg-1 and greg-2, not for bn-scale"),
        ("pruningbench:vgg19-cifar100", {"sparsify": "greg-1"}, "has no numbers for greg-1"),
        (
            "pruningbench:vgg19-cifar100",
            {"sparsify": "group-norm", "criterion": "taylor"},
            "no numbers for group-norm and taylor",
        ),
        ("gradient-flow:cifar", {"rounds": 80}, "leaves nothing"),
    ],
)
def test_what_a_preset_does_not_have(name: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preset(name, **more)

from __future__ import annotations

from typing import Any

import pytest

from prunecli.errors import UsageError
from prunecli.training.asked import STABLE_AT, Trainings


def check(given: dict[str, Any], *, data: bool = True, steps: int = 1, planned: bool = False) -> None:
    Trainings(**given).check(data=data, steps=steps, planned=planned)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"finetune_epochs": 1, "finetune_args": {"lr": 0.1, "samples": 5}},
        {"sparsify": "elsewhere", "sparsify_epochs": 1, "sparsify_args": {"own-number": 2, "lr": 0.1}},
        {"rounds": 3},
        {"rounds": 3, "sparsify": "group-lasso"},
        {"prune_when": "mask-stable", "sparsify_epochs": 20},
        {"prune_when": "mask-stable=0.01", "sparsify": "bn-scale", "sparsify_epochs": 20},
    ],
)
def test_what_can_be_asked(given: dict[str, Any]) -> None:
    check(given)


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ({"finetune_epochs": 3}, {"data": False}, "--finetune-epochs needs data"),
        ({"sparsify": "bn-scale", "sparsify_epochs": 3}, {"data": False}, "--sparsify needs data"),
        ({"rounds": 3}, {"data": False}, "--rounds needs data"),
        ({"finetune_epochs": 0}, {}, "--finetune-epochs 0 is out of range"),
        ({"rounds": 0}, {}, "--rounds 0 is out of range"),
        ({"sparsify": "bn-scale", "sparsify_epochs": 0}, {}, "--sparsify-epochs 0 is out of range"),
        ({"sparsify": "bn-scale"}, {}, "--sparsify bn-scale: for how long"),
        ({"prune_when": "mask-stable"}, {}, "--prune-when mask-stable: for how long"),
        ({"prune_when": "stable", "sparsify_epochs": 3}, {}, "--prune-when stable is not known"),
        ({"prune_when": "mask-stable=1", "sparsify_epochs": 3}, {}, "is not known"),
        ({"prune_when": "mask-stable=a", "sparsify_epochs": 3}, {}, "is not known"),
        ({"finetune_args": {"lr": 1}}, {}, "--finetune-arg is given, and nothing is trained"),
        ({"sparsify_args": {"lr": 1}}, {}, "--sparsify-arg is given, and no training before"),
        ({"sparsify_epochs": 3}, {}, "--sparsify-epochs is given, and no training before"),
        ({"finetune_epochs": 3, "finetune_args": {"epochs": 2}}, {}, "--finetune-arg epochs is what"),
        ({"finetune_epochs": 3, "finetune_args": {"seed": 2}}, {}, "--finetune-arg seed is what --seed"),
        ({"finetune_epochs": 3, "finetune_args": {"learning": 2}}, {}, "unknown setting 'learning'"),
        ({"rounds": 2, "sparsify_args": {"epochs": 2}}, {}, "--sparsify-arg epochs is what"),
        ({"rounds": 2, "sparsify_args": {"strength": 2}}, {}, "strength is no setting, and there is no"),
        ({"rounds": 2, "sparsify": "a", "sparsify_args": {"strength": "x"}}, {}, "is not a number"),
        ({"rounds": 2}, {"steps": 3}, "--rounds goes without --steps"),
        ({"rounds": 2, "prune_when": "mask-stable"}, {}, "--rounds goes without --prune-when"),
        ({"rounds": 2}, {"planned": True}, "a plan is known before anything is trained"),
    ],
)
def test_what_cannot(given: dict[str, Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(given, **more)


def test_settings_and_numbers_of_a_regularizer_share_an_option() -> None:
    asked = Trainings("greg-2", 7, {"delta-all": 0.5, "batch-size": 9, "samples": 3})
    assert asked.numbers == {"delta-all": 0.5}
    settings = asked.settings_before(2)
    assert (settings.epochs, settings.batch_size, settings.seed) == (7, 9, 2)


def test_the_threshold_of_masks() -> None:
    assert Trainings().stable_at is None
    assert Trainings(prune_when="mask-stable").stable_at == STABLE_AT
    assert Trainings(prune_when="mask-stable=0.02").stable_at == 0.02


def test_options_hold_what_was_given() -> None:
    asked = Trainings("bn-scale", 3, {"strength": 1e-3, "lr": 0.1}, rounds=2)
    assert asked.options() == {
        "sparsify": "bn-scale", "sparsify_epochs": 3, "rounds": 2,
        "sparsify_args": ["lr=0.1", "strength=0.001"],
    }  # fmt: skip
    assert Trainings(finetune_epochs=3).options() == {}

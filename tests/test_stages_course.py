from __future__ import annotations

from typing import Any

import pytest

from prunecli.errors import UsageError
from prunecli.stages import Course
from prunecli.training.asked import Trainings


def course(data: str | None = "digits", **asked: Any) -> Course:
    return Course.of(Trainings(**asked), data=data, seed=4, eval_data="npz:x.npz")


def test_a_training_after_the_cut_is_settings_and_samples() -> None:
    found = course(finetune_epochs=3, finetune_args={"lr": 0.5, "samples": 9})
    assert found.after is not None
    settings = found.after.settings
    assert (settings.epochs, settings.lr, settings.distill, settings.seed) == (3, 0.5, 0.5, 4)
    assert (found.after.samples, found.eval_data) == (9, "npz:x.npz")
    assert found.before is None
    assert found.kept.keeping({}) is None


def test_a_training_before_the_cut_has_a_regularizer_and_its_numbers() -> None:
    args = {"strength": 0.25, "lr": 0.5, "batch-size": 16, "samples": 9}
    found = course(sparsify="group-norm", sparsify_epochs=2, sparsify_args=args)
    assert found.before is not None
    settings = found.before.settings
    assert (settings.epochs, settings.lr, settings.batch_size, settings.schedule) == (2, 0.5, 16, "constant")
    assert settings.distill == 0
    assert found.before.samples == 9
    assert found.shrinking is not None
    assert found.shrinking.values == {"strength": 0.25, "alpha": 4.0}
    assert found.shrinking.given == {"strength"}
    assert found.after is None


def test_rounds_are_of_one_epoch() -> None:
    found = course(rounds=5)
    assert found.before is not None
    assert (found.times, found.before.settings.epochs, found.shrinking) == (5, 1, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": None, "rounds": 2}, "training needs data"),
        ({"sparsify": "group-laso", "sparsify_epochs": 2}, "unknown regularizer 'group-laso'"),
        (
            {"sparsify": "group-lasso", "sparsify_epochs": 2, "sparsify_args": {"alpha": 2.0}},
            "regularizer 'group-lasso' has no number 'alpha'",
        ),
        ({"sparsify": "greg-1", "rounds": 2}, "greg-1 picks once"),
    ],
)
def test_what_cannot_be_trained(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        course(**given)

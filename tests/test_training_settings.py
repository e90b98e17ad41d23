from __future__ import annotations

from typing import Any

import pytest

from prunecli.errors import UsageError
from prunecli.training.settings import Settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'"),
        ({"epochs": 0}, "--epochs 0 is out of range"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"optimizer": "adam"}, "unknown optimizer 'adam'"),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'"),
        ({"amp": "fp8"}, "unknown amp 'fp8'"),
        ({"augment": "flop"}, "unknown augment 'flop'"),
        ({"lr": 0.0}, "--lr 0 is out of range"),
        ({"lr": float("nan")}, "--lr nan is out of range"),
        ({"momentum": 1.0}, "--momentum 1"),
        ({"weight_decay": -1.0}, "--weight-decay -1"),
        ({"warmup": 10}, "--warmup 10"),
        ({"milestones": (8, 6)}, "--milestones 8,6"),
        ({"milestones": (0, 6)}, "--milestones 0,6"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1"),
        ({"distill": 1.5}, "--distill 1.5"),
        ({"distill_temperature": 0.0}, "--distill-temperature 0"),
        ({"clip": 0.0}, "--clip 0"),
        ({"ema": 1.0}, "--ema 1"),
        ({"patience": 0}, "--patience 0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings.of(given)
    assert caught.value.message.startswith(message)
    assert caught.value.hint


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"epochs": 1},
        {"optimizer": "adamw", "schedule": "cosine", "warmup": 9, "amp": "bf16", "augment": "imagenet"},
        {"milestones": (6, 8), "label_smoothing": 0.1, "distill": 0.0, "clip": 1.0, "ema": 0.99},
    ],
)
def test_its_valid_twin_is_taken(given: dict[str, Any]) -> None:
    found = Settings.of(given)
    assert {name: getattr(found, name) for name in given} == given


def test_defaults_go_with_the_optimizer() -> None:
    sgd, adamw = Settings(epochs=100), Settings(optimizer="adamw")
    assert (sgd.rate, sgd.decay, sgd.steps_down) == (0.01, 5e-4, (60, 80))
    assert (adamw.rate, adamw.decay) == (1e-4, 0.01)
    assert Settings(epochs=1).steps_down == ()
    assert Settings(epochs=2).steps_down == (1,)
    assert sgd.to_json()["milestones"] == [60, 80]
    assert Settings(schedule="cosine").to_json()["milestones"] is None

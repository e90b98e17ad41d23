from __future__ import annotations

from typing import Any

import pytest

from prunecli.errors import UsageError
from prunecli.stages import Course


def course(epochs: int = 3, arguments: dict[str, Any] | None = None, **more: Any) -> Course:
    return Course.of(epochs, arguments or {}, **{"data": "digits", "seed": 4, **more})


def test_a_course_is_settings_and_data() -> None:
    found = course(arguments={"lr": 0.5, "samples": 9}, eval_data="npz:x.npz")
    assert (found.settings.epochs, found.settings.lr, found.settings.seed) == (3, 0.5, 4)
    assert (found.samples, found.eval_data) == (9, "npz:x.npz")
    assert found.kept.keeping({}) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": None}, "training needs data"),
        ({"epochs": 0}, "--epochs 0"),
        ({"arguments": {"epochs": 2}}, "--finetune-arg epochs is what --finetune-epochs says"),
        ({"arguments": {"seed": 2}}, "--finetune-arg seed is what --seed says"),
        ({"arguments": {"learning": 2}}, "unknown setting 'learning'"),
    ],
)
def test_what_cannot_be_trained(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        course(**given)

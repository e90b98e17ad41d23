from __future__ import annotations

import pytest

from prunecli.cli import names
from prunecli.data.presets import PRESETS, usual


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((3, 224, 224), "imagenet"),
        ((3, 96, 96), "imagenet"),
        ((3, 32, 32), "cifar"),
        ((1, 28, 28), "unit"),
        ((1, 224, 224), "unit"),
    ],
)
def test_the_usual_one_goes_by_the_input(size: tuple[int, int, int], wanted: str) -> None:
    assert usual(*size) == wanted


def test_the_command_line_knows_them() -> None:
    assert tuple(PRESETS) == names.TRANSFORMS


def test_imagenets_is_that_of_its_papers() -> None:
    assert PRESETS["imagenet"].resized_side(224, 224) == 256
    assert PRESETS["imagenet"].resized_side(160, 320) == 366
    assert PRESETS["cifar"].resized_side(32, 32) == 32

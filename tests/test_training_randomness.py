from __future__ import annotations

import io
import random
from typing import Any

import numpy as np
import torch

from prunecli.training import randomness


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.standard_normal()), float(torch.randn(()))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def test_all_generators_go_on_where_they_were() -> None:
    randomness.seeded(3)
    first = draw()
    state = through_a_file(randomness.captured())
    wanted = [draw() for _ in range(3)]
    randomness.seeded(3)
    assert draw() == first
    randomness.restore(state)
    assert [draw() for _ in range(3)] == wanted


def test_the_callers_are_left_alone() -> None:
    randomness.seeded(4)
    wanted = draw()
    randomness.seeded(4)
    with randomness.kept():
        randomness.seeded(99)
        draw()
    assert draw() == wanted

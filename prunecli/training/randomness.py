"""All generators that a step of training may draw from, as values that a file can hold."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seeded(seed: int) -> None:
    """Start all of them from ``seed``."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def captured() -> dict[str, Any]:
    """Where they are, in types that ``torch.load(weights_only=True)`` reads."""
    drawn: Any = np.random.get_state(legacy=True)
    kind, keys, *rest = drawn
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        **drawn_on(),
    }


def drawn_on() -> dict[str, Any]:
    """Torch's own, which cost nothing to look at."""
    there = torch.cuda.is_available()
    return {"torch": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if there else []}


def restore(state: dict[str, Any]) -> None:
    """Put those that ``state`` has back where they were."""
    if "python" in state:
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    # A run may go on on a machine with fewer, or none.
    for index, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(one.cpu(), index)


@contextmanager
def kept() -> Iterator[None]:
    """The caller's generators are afterwards where they were."""
    before = captured()
    try:
        yield
    finally:
        restore(before)

"""Pictures on disk for the tests of data/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from prunecli.checkpoint.specs import InputSpec

COLOUR = (InputSpec(None, "float32", (1, 3, 16, 16)),)
GREY = (InputSpec(None, "float32", (1, 1, 8, 8)),)


def pixels(seed: int, *shape: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 24, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, *shape)).save(path)
    return path


def class_folders(root: Path, each: int = 3, classes: tuple[str, ...] = ("bee", "ant", "cat")) -> Path:
    for place, name in enumerate(classes):
        for index in range(each):
            write(root / name / f"{index}.png", 10 * place + index)
    return root

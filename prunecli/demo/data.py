"""The demo's images: scikit-learn's 8x8 handwritten digits, shipped as one small file with a fixed split."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

GREY_LEVELS = 16


@dataclass(frozen=True)
class Digits:
    """One part of the data. ``images``: float32 ``[N, 1, 8, 8]``, -1..1. ``labels``: int64 ``[N]``, 0..9."""

    images: Tensor
    labels: Tensor


def digits(*, test: bool) -> Digits:
    """The 360 test images, or the 1437 training images."""
    with files(__package__).joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        chosen = stored["test"] == test
        images = torch.from_numpy(stored["images"][chosen]).float()
        labels = torch.from_numpy(stored["labels"][chosen]).long()
    return Digits(images.unsqueeze(1) * 2 / GREY_LEVELS - 1, labels)

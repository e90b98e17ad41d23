"""``--transform``: from a picture to what the network takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

IMAGENET_SIDE = 96
"""Colour networks from this size on expect what ImageNet networks do, smaller ones what CIFAR's do."""


@dataclass(frozen=True)
class Preset:
    """``crop`` is the share of the shorter side that stays (None: nothing is resized). Values from 0 to 1 are
    normalised with ``mean`` and ``deviation``, one each or one per colour.
    """

    summary: str
    crop: float | None = 1.0
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)

    def resized_side(self, height: int, width: int) -> int:
        """What the shorter side becomes before ``height`` x ``width`` is cut out of the middle."""
        return ceil(max(height, width) / (self.crop or 1.0))


PRESETS: Mapping[str, Preset] = {
    "imagenet": Preset(
        "cut out of the middle, ImageNet's mean and deviation",
        0.875,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
    "inception": Preset("cut out of the middle, -1 to 1", 0.875, (0.5,), (0.5,)),
    "cifar": Preset(
        "resized, CIFAR-10's mean and deviation", 1.0, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    ),
    "mnist": Preset("resized, MNIST's mean and deviation", 1.0, (0.1307,), (0.3081,)),
    "fashion-mnist": Preset("resized, Fashion-MNIST's mean and deviation", 1.0, (0.2860,), (0.3530,)),
    "signed": Preset("resized, -1 to 1", 1.0, (0.5,), (0.5,)),
    "unit": Preset("resized, 0 to 1"),
    "none": Preset("not resized, 0 to 1", None),
}


def usual(channels: int, height: int, width: int) -> str:
    """The preset for a network of this input, where none was asked for."""
    if channels != 3:
        return "unit"
    return "imagenet" if max(height, width) >= IMAGENET_SIDE else "cifar"

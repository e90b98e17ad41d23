"""``--augment``: torchvision's random transforms, drawn for every sample of its own with torch's generator.

They see pictures as ``--transform`` made them, so what a crop pads with is 0 after normalisation: the mean.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

from prunecli.data.samples import Batch
from prunecli.errors import InputError, unknown_name
from prunecli.training.settings import AUGMENTS

_PADDING = 8
"""A crop moves the picture by up to an eighth of a side: 4 pixels of CIFAR's 32."""


def augmentation(name: str, height: int, width: int) -> v2.Transform | None:
    """The transform of one picture ``[C, height, width]``; None for ``none``. Raises ``UsageError``."""
    if name == "none":
        return None
    flip = v2.RandomHorizontalFlip()
    if name == "flip":
        return flip
    if name == "crop":
        padding = [max(1, width // _PADDING), max(1, height // _PADDING)]
        return v2.Compose([v2.RandomCrop((height, width), padding=padding), flip])
    if name == "imagenet":
        return v2.Compose([v2.RandomResizedCrop((height, width), antialias=True), flip])
    raise unknown_name("augment", name, AUGMENTS)


def augmented(batch: Batch, name: str) -> Batch:
    """``batch`` with each of its pictures drawn anew. Raises ``InputError`` where the inputs are none."""
    if name == "none":
        return batch
    tensors = batch.inputs.tensors
    if len(tensors) != 1 or tensors[0].dim() != 4 or not tensors[0].is_floating_point():
        taken = ", ".join(f"{list(tensor.shape[1:])}" for tensor in tensors)
        raise InputError(f"--augment {name} is for pictures, the network takes {taken}", "--augment none")
    transform = augmentation(name, *tensors[0].shape[-2:])
    assert transform is not None

    def each(pictures: Tensor) -> Tensor:
        return torch.stack([transform(picture) for picture in pictures])

    return Batch(batch.inputs.map(each), batch.labels)

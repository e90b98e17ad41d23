from __future__ import annotations

import pytest
import torch
from torch import Tensor

from prunecli.data.samples import Batch
from prunecli.errors import InputError, UsageError
from prunecli.inputs import Inputs
from prunecli.training.augment import augmentation, augmented
from prunecli.training.settings import AUGMENTS

IMAGES = torch.arange(1, 1 + 8 * 3 * 16 * 16, dtype=torch.float32).reshape(8, 3, 16, 16)


def changed(name: str, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return augmented(Batch(Inputs((IMAGES,)), torch.arange(8)), name).inputs.tensors[0]


def test_none_is_the_very_same() -> None:
    assert changed("none") is IMAGES


def test_a_flip_is_the_picture_or_its_mirror() -> None:
    found = changed("flip")
    mirrored = [torch.equal(one, image.flip(-1)) for one, image in zip(found, IMAGES, strict=True)]
    same = [torch.equal(one, image) for one, image in zip(found, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0 < sum(mirrored) < 8


def test_a_crop_is_the_picture_moved_by_up_to_an_eighth() -> None:
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2))
    for at, one in enumerate(changed("crop")):
        places = [
            (y, x, flip)
            for y in range(5)
            for x in range(5)
            for flip in (False, True)
            if torch.equal(one.flip(-1) if flip else one, padded[at, :, y : y + 16, x : x + 16])
        ]
        assert len(places) == 1


@pytest.mark.parametrize("name", [name for name in AUGMENTS if name != "none"])
def test_each_picture_is_drawn_by_itself_from_torchs_generator(name: str) -> None:
    first, again, other = changed(name), changed(name), changed(name, 1)
    assert first.shape == IMAGES.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_no_picture_is_refused() -> None:
    tokens = Batch(Inputs((torch.zeros(2, 7, dtype=torch.int64),)))
    assert augmented(tokens, "none") is tokens
    with pytest.raises(InputError, match=r"--augment crop is for pictures, the network takes \[7\]"):
        augmented(tokens, "crop")
    with pytest.raises(UsageError, match="unknown augment"):
        augmentation("cutmix", 8, 8)

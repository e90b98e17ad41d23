from __future__ import annotations

import pytest
import torch
from torch import Tensor
from training_examples import pictures

from prunecli.data.samples import Batch, Lazy, Samples
from prunecli.errors import InputError
from prunecli.inputs import Inputs
from prunecli.training.deck import Deck

PLACES = torch.tensor([7, 0, 11, 3])


def held(samples: Samples) -> tuple[Tensor, Tensor]:
    batch = Deck(samples).take(PLACES)
    assert batch.labels is not None
    return batch.inputs.tensors[0], batch.labels


def test_however_the_samples_lie() -> None:
    (whole,) = pictures(12).batches
    uneven = Samples((whole[:5], whole[5:6], whole[6:12]), "x")
    read: list[int] = []

    def one(index: int) -> Batch:
        read.append(index)
        return whole[index : index + 1]

    lazy = Samples(Lazy(12, one), "x", count=12)
    deck = Deck(lazy)
    # One is looked at, to see whether samples can be put together.
    assert (len(deck), read) == (12, [0])
    for samples in (Samples((whole,), "x"), uneven, lazy):
        images, labels = held(samples)
        assert torch.equal(images, whole.inputs.tensors[0][PLACES])
        assert labels.tolist() == [1, 0, 2, 0]
    assert sorted(read) == [0, 3, 7, 11]


def test_one_at_a_time_is_refused() -> None:
    with pytest.raises(InputError, match="one sample at a time"):
        Deck(Samples((Batch(Inputs((torch.zeros(3, 4, 4),)), None, True),), "x"))

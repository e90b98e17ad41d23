"""Samples by their place, in any order: what calibration reads from front to back, shuffled."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import torch
from torch import Tensor

from prunecli.data.samples import Batch, Samples, join
from prunecli.errors import InputError


class Deck:
    """``samples`` by their numbers. Raises ``InputError`` where several cannot be put into one batch."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        # Where a count is given, each batch is one sample, and is not to be read to find that out.
        self._single = samples.count is not None and samples.count == len(samples.batches)
        sizes = [] if self._single else [len(batch) for batch in samples.batches]
        self._ends = list(accumulate(sizes))
        if samples.batches[0].whole:
            raise InputError(
                "the network takes one sample at a time, and training takes batches",
                "train it with its own loop: prunecli.load(PATH) is the ordinary class",
            )

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, places: Tensor) -> Batch:
        """The samples at ``places``, int64 ``[n]``, in that order."""
        if len(self._ends) == 1:
            return _picked(self.samples.batches[0], places)
        if self._single:
            return join([self.samples.batches[at] for at in places.tolist()])
        return join([self._one(at) for at in places.tolist()])

    def _one(self, at: int) -> Batch:
        index = bisect_right(self._ends, at)
        start = self._ends[index - 1] if index else 0
        return self.samples.batches[index][at - start : at - start + 1]


def _picked(batch: Batch, places: Tensor) -> Batch:
    labels = None if batch.labels is None else batch.labels[places]
    return Batch(batch.inputs.map(lambda tensor: torch.index_select(tensor, 0, places)), labels)

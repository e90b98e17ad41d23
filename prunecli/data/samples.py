"""``Samples``: what calibration and evaluation read, in a fixed order, as often as they like."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import torch
from torch import Tensor

from prunecli.inputs import Inputs

CACHE_BYTES = 2**30
"""How much of what was read is kept for the next pass."""


@dataclass(frozen=True)
class Batch:
    """Some samples. ``labels``: int64 ``[n]``, or None.

    Every input tensor has the samples along its first dimension. Where a network cannot take that (a
    detector's list of images, a state of a recurrent layer), a batch is one sample and ``whole``.
    """

    inputs: Inputs
    labels: Tensor | None = None
    whole: bool = False

    def __len__(self) -> int:
        return 1 if self.whole else self.inputs.tensors[0].shape[0]

    def __getitem__(self, part: slice) -> Batch:
        return Batch(
            self.inputs.map(lambda tensor: tensor[part]), None if self.labels is None else self.labels[part]
        )


@dataclass(frozen=True)
class Samples:
    """``batches`` hold the samples, any number in each. ``origin``: ``noise``, or the data as asked for.

    ``notes`` are what the user should know about them; ``classes`` how many the labels tell apart, where the
    source says so; ``count`` the number of samples, where it would have to be read off the batches.
    """

    batches: Sequence[Batch]
    origin: str
    notes: tuple[str, ...] = ()
    classes: int | None = None
    count: int | None = None

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches) if self.count is None else self.count

    @property
    def labelled(self) -> bool:
        return self.batches[0].labels is not None

    def chunks(self, size: int) -> Iterator[Batch]:
        """The samples in order, ``size`` at a time (the last chunk has what is left); one at a time where a
        batch cannot be put together from several.
        """
        held: list[Batch] = []
        number = 0
        for batch in self.batches:
            if batch.whole:
                yield batch
                continue
            held.append(batch)
            number += len(batch)
            if number < size:
                continue
            joined = join(held)
            for start in range(0, number - size + 1, size):
                yield joined[start : start + size]
            number %= size
            held = [joined[len(joined) - number :]] if number else []
        if held:
            yield join(held)


def join(batches: Sequence[Batch]) -> Batch:
    """One batch of the samples of several."""
    if len(batches) == 1:
        return batches[0]
    columns = zip(*(batch.inputs.tensors for batch in batches), strict=True)
    joined = iter([torch.cat(column) for column in columns])
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Batch(batches[0].inputs.map(lambda _: next(joined)), torch.cat(labels) if labels else None)


class Lazy(Sequence[Batch]):
    """Single samples, read when they are needed; the first ``CACHE_BYTES`` of them are kept."""

    def __init__(self, count: int, read: Callable[[int], Batch], room: int | None = None) -> None:
        self._count = count
        self._read = read
        self._kept: dict[int, Batch] = {}
        self._room = CACHE_BYTES if room is None else room

    def only(self, places: Sequence[int]) -> Lazy:
        """Some of them, in another order."""
        return Lazy(len(places), lambda index: self[places[index]], room=0)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return [self[at] for at in range(self._count)[index]]
        at = range(self._count)[index]
        if at in self._kept:
            return self._kept[at]
        batch = self._read(at)
        size = _bytes(batch.inputs.tensors)
        if size <= self._room:
            self._kept[at] = batch
            self._room -= size
        return batch


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

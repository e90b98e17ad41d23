"""Who of several processes sees which samples, and their figures put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

from torch import Tensor

from prunecli.data.samples import Batch, Samples
from prunecli.report.figures import Quality


@dataclass(frozen=True)
class Share:
    """What one process sees of a step. Its loss, summed over the samples, is divided by ``whole``: the mean
    of that over the processes is then the mean over the samples. ``counted``: whether the samples are its
    own, or those of process 0 as well.
    """

    places: Tensor
    whole: float
    counted: bool = True


def share(places: Tensor, rank: int, size: int) -> Share:
    """Of the samples of a step, the part of process ``rank``, in order and as equal as possible.

    Where that would leave one with fewer than two samples, as the last step of an epoch may, each takes them
    all: norms need the statistics of a batch, and the mean of equal gradients is the gradient.
    """
    count = len(places)
    if size == 1 or count < 2 * size:
        return Share(places, count, rank == 0)
    return Share(places[_part(count, rank, size)], count / size)


def part_of(samples: Samples, rank: int, size: int) -> Samples | None:
    """The samples that process ``rank`` measures on; what it does not, it does not read. None for none."""
    if size == 1:
        return samples
    single = samples.batches[0].whole or samples.count == len(samples.batches)
    batches: Sequence[Batch]
    if single:
        batches = _Picked(samples.batches, range(len(samples.batches))[rank::size])
    else:
        parts = [batch[_part(len(batch), rank, size)] for batch in samples.batches]
        batches = [batch for batch in parts if len(batch)]
    if not batches:
        return None
    return replace(samples, batches=batches, count=len(batches) if samples.count is not None else None)


def _part(count: int, rank: int, size: int) -> slice:
    return slice(rank * count // size, (rank + 1) * count // size)


class _Picked(Sequence[Batch]):
    """Some of ``batches``, read when they are needed."""

    def __init__(self, batches: Sequence[Batch], places: range) -> None:
        self._batches, self._places = batches, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | Sequence[Batch]:
        if isinstance(index, slice):
            return _Picked(self._batches, self._places[index])
        return self._batches[self._places[index]]


def together(parts: Sequence[Quality | None]) -> Quality | None:
    """The figures over all samples, from those on parts of them. None where nothing was measured."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    total = sum(part.samples for part in known)

    def mean(figure: Callable[[Quality], float | None], shares: bool) -> float | None:
        values = [(figure(part), part.samples) for part in known]
        sums = [value * samples for value, samples in values if value is not None]
        if len(sums) < len(known):
            return None
        # A share of samples is a whole number of them, which the division had rounded.
        return sum(map(round, sums) if shares else sums) / total

    return Quality(
        total,
        top1=mean(lambda part: part.top1, True),
        top5=mean(lambda part: part.top5, True),
        loss=mean(lambda part: part.loss, False),
        classes=known[0].classes,
    )

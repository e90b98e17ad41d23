"""What passes over the samples have in common: the network, its samples in chunks, and a word of progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

import torch
from torch import nn

from prunecli.assembly import all_tensors, rebuilt, working_copy
from prunecli.data.samples import Batch, Samples
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.running.chunks import Chunks

R = TypeVar("R")

MOST = 16
"""Samples of one chunk."""


@dataclass(frozen=True)
class Chunk:
    """Some samples on the compute device, and the numbers of the first of them and of their chunk."""

    batch: Batch
    first: int
    index: int

    @property
    def told(self) -> str:
        """As it is named to the user."""
        count = len(self.batch)
        return f"sample {self.first}" if count == 1 else f"samples {self.first} to {self.first + count - 1}"


@dataclass(frozen=True)
class Passes:
    """``network`` is a working copy: in eval mode, floating tensors in ``dtype``, on ``device``."""

    network: nn.Module
    samples: Samples
    device: torch.device
    dtype: torch.dtype
    chunks: Chunks
    progress: Callable[[str], None] | None = None
    notes: list[str] = field(default_factory=list)

    @staticmethod
    def over(
        network: nn.Module,
        samples: Samples,
        device: torch.device,
        chunks: Chunks,
        progress: Callable[[str], None] | None,
    ) -> Passes:
        """In float64 where the network has a parameter in that, else in float32."""
        wide = any(tensor.dtype == torch.float64 for tensor in network.parameters())
        dtype = torch.float64 if wide else torch.float32
        return Passes(working_copy(network, device, dtype), samples, device, dtype, chunks, progress)

    def copy(self) -> nn.Module:
        """Another one around the same tensors: what a forward keeps on the module stays with one run."""
        return rebuilt(self.network, all_tensors(self.network)).eval()

    def chunked(self, size: int) -> list[Chunk]:
        """All samples, ``size`` at a time."""
        found: list[Chunk] = []
        first = 0
        for batch in self.samples.chunks(size):
            inputs = batch.inputs.cast(self.dtype).map(lambda tensor: tensor.to(self.device))
            labels = None if batch.labels is None else batch.labels.to(self.device)
            found.append(Chunk(Batch(inputs, labels, batch.whole), first, len(found)))
            first += len(batch)
        return found

    def each(self, what: str, work: Callable[[Chunk], R], chunks: Sequence[Chunk]) -> Iterator[R]:
        """``work`` of every chunk, in order. Raises ``InputError`` for what a forward raises."""

        def guarded(chunk: Chunk) -> R:
            try:
                return work(chunk)
            except FORWARD_ERRORS as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"the network does not run on {chunk.told}: {first_line(error)}",
                    "data of another shape, or another --criterion",
                ) from error

        began, done, total = perf_counter(), 0, sum(len(chunk.batch) for chunk in chunks)
        for chunk, result in zip(chunks, self.chunks.each(guarded, chunks), strict=True):
            done += len(chunk.batch)
            if self.progress is not None:
                left = (perf_counter() - began) / done * (total - done)
                self.progress(f"{what}: {done} of {total} samples, about {left:.0f} s left")
            yield result

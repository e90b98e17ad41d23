"""Samples in chunks, computed side by side: the bytes that come of it do not depend on how many threads there
are, since one thread computes a chunk and whoever sums gets them in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from prunecli.assembly import without_fast_path

T = TypeVar("T")
R = TypeVar("R")


def take_over_threads() -> None:
    """A new thread computes with as many threads as the environment says, whatever torch was told, until it
    has asked.
    """
    torch.get_num_threads()


class Chunks:
    """Work on every chunk of samples: in parallel on a CPU, in the order of the chunks to whoever sums."""

    def __init__(self, device: torch.device) -> None:
        self._workers = 1 if device.type != "cpu" else torch.get_num_threads()

    def each(self, work: Callable[[T], R], chunks: Sequence[T]) -> Iterator[R]:
        """``work`` of each chunk, in their order; a few at a time, so that results need not all be held."""
        work = torch.no_grad()(work)
        if self._workers == 1:
            yield from map(work, chunks)
            return
        with ThreadPoolExecutor(self._workers, initializer=take_over_threads) as pool:
            for start in range(0, len(chunks), self._workers):
                yield from list(pool.map(work, chunks[start : start + self._workers]))


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[Chunks]:
    """Chunks in parallel, with one thread inside torch for each (see the module)."""
    chunks = Chunks(device)
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with without_fast_path():
            yield chunks
    finally:
        torch.set_num_threads(before)

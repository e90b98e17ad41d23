"""How many threads torch computes with, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from prunecli.errors import UsageError


@contextmanager
def computing_with(number: int | None) -> Iterator[None]:
    """``number`` threads (None: as many as now). Raises ``UsageError``."""
    if number is not None and number < 1:
        raise UsageError(f"--threads {number} is not a positive integer", "--threads 2")
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

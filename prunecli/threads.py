"""How many CPU threads torch uses while something runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from prunecli.errors import UsageError


@contextmanager
def limited(number: int | None) -> Iterator[None]:
    """``number`` threads inside, as many as before after it; None leaves them. Raises ``UsageError``."""
    if number is not None and number < 1:
        raise UsageError(f"--threads {number} is not a positive integer", "--threads 2")
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

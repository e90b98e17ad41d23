"""A long series of runs, shared among processes that were warmed up once, with figures as they come."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any


def shared(work: Callable[[int, int, float], Iterable[Any]], jobs: int, seconds: float) -> Iterable[Any]:
    """What ``work(share, shares, end)`` yields in ``jobs`` processes, in the order in which it comes.
    ``end``: the time at which to begin nothing more. This process must not have imported torch.
    """
    end = time.monotonic() + seconds
    open_ends: list[Any] = []
    children: list[int] = []
    for share in range(jobs):
        receiving, sending = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            receiving.close()
            _serve(work(share, jobs, end), sending)
        sending.close()
        open_ends.append(receiving)
        children.append(pid)
    while open_ends:
        for ready in wait(open_ends):
            try:
                yield ready.recv()  # type: ignore[union-attr]
            except EOFError:
                open_ends.remove(ready)
    failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
    if failed:
        raise RuntimeError(f"{len(failed)} of {jobs} processes of the test itself failed")


def _serve(items: Iterable[Any], sending: Connection) -> None:
    """Never returns."""
    code = 1
    try:
        for item in items:
            sending.send(item)
        sending.close()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)

"""Names that change at once, and stay changed after a power cut, as far as the system has it."""

# System calls by their names: what comes of each that fails matters, and is tested one by one.
# ruff: noqa: PTH104
from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

_EXCHANGE, _HERE = 2, -100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
"""What a directory that can only be written to says, and every one on Windows."""
_NOT_EXCHANGED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def sync_directory(directory: Path) -> None:
    """Raises ``OSError``, but not where the file system has nothing of the kind."""
    try:
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def moved(directory: Path, target: Path) -> bool:
    """False where ``target`` has come to be there, and holds something. Raises ``OSError``."""
    try:
        os.rename(directory, target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def exchange(one: Path, other: Path) -> bool:
    """Both names at once, so that there is no instant without either; False where the system cannot. Raises
    ``OSError``.
    """
    call = renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_EXCHANGED:
        return False
    raise OSError(number, os.strerror(number))


@cache
def renameat2() -> Callable[..., int] | None:
    """Linux's, which leaves its error in ``ctypes.get_errno()``."""
    if not sys.platform.startswith("linux"):
        return None
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call

"""What a new file or directory takes over from the one that it replaces."""

from __future__ import annotations

import os
from contextlib import suppress


def take_over(handle: int, like: os.stat_result | None) -> None:
    """Owner, group and permissions of ``like``. Where the group cannot be had, it may do what all may. Raises
    ``OSError``; on Windows there is nothing to take over.
    """
    if like is None or not hasattr(os, "fchown"):
        return
    now, mode = os.fstat(handle), like.st_mode & 0o777
    if (now.st_uid, now.st_gid) != (like.st_uid, like.st_gid) and not _is_given(handle, like):
        mode = mode & 0o707 | (mode & mode << 3 & 0o070)
    if now.st_mode & 0o777 != mode:
        os.fchmod(handle, mode)


def _is_given(handle: int, like: os.stat_result) -> bool:
    for owner in (like.st_uid, -1):
        with suppress(OSError):
            os.fchown(handle, owner, like.st_gid)
            return True
    return False

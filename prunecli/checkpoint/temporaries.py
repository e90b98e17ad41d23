"""Temporary names beside a target, ``.NAME.RANDOM.prune-tmp``: locked while their process lives, so that a
sweep can tell what killed ones left. Where there are no such locks (Windows) nothing is swept.
"""

# System calls by their names: what comes of each that fails matters, and is tested one by one.
# ruff: noqa: PTH104, PTH108, PTH208
from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

TEMPORARY, ASIDE = ".prune-tmp", ".prune-old"
"""What is on its way to its place, and what made room for it."""
_LONGEST_NAME = 100
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def beside(target: Path, ending: str) -> Path:
    """A new name of that kind for ``target``."""
    return target.with_name(f".{_label(target.name)}.{secrets.token_hex(8)}{ending}")


class Locks:
    """On what one run writes. They are gone with the process, however that ends."""

    def __init__(self) -> None:
        self._handles: list[int] = []

    @property
    def first(self) -> int | None:
        """A handle of what was locked first."""
        return self._handles[0] if self._handles else None

    def file(self, handle: int) -> bool:
        """Lock an open file that was just made, until :meth:`release`, also when ``handle`` is closed. False
        if a sweep found it before, and removed it.
        """
        if not _is_ours(handle):
            return False
        if fcntl is not None:
            self._handles.append(os.dup(handle))
        return True

    def directory(self, path: Path) -> bool:
        """As :meth:`file`."""
        if fcntl is None:
            return True
        self._handles.append(os.open(path, _LOOK))
        return _is_ours(self._handles[-1])

    def release(self) -> None:
        while self._handles:
            with suppress(OSError):
                os.close(self._handles.pop())


def _is_ours(handle: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # No locks on this file system: then no sweep gets one either.
    except OSError:
        return True
    return os.fstat(handle).st_nlink > 0


def sweep(target: Path) -> None:
    """Remove what killed runs left of ``target``; what a live one writes is locked, and stays."""
    if fcntl is None:
        return
    label = re.escape(_label(target.name))
    known = re.compile(rf"\.{label}\.[0-9a-f]{{16}}({re.escape(TEMPORARY)}|{re.escape(ASIDE)})")
    try:
        left = [target.parent / name for name in os.listdir(target.parent) if known.fullmatch(name)]
    except OSError:
        return
    for path in left:
        with suppress(OSError):
            _clear(path, target)


def _clear(orphan: Path, target: Path) -> None:
    assert fcntl is not None
    handle = os.open(orphan, _LOOK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if orphan.suffix == ASIDE and not os.path.lexists(target):
            os.rename(orphan, target)
        elif stat.S_ISDIR(os.fstat(handle).st_mode):
            shutil.rmtree(orphan)
        elif stat.S_ISREG(os.fstat(handle).st_mode):
            os.unlink(orphan)
    finally:
        os.close(handle)


def clear_away(directory: Path) -> None:
    """What cannot be removed is left to the next sweep."""
    # Some errors get past ``ignore_errors``.
    with suppress(OSError):
        shutil.rmtree(directory, ignore_errors=True)


def _label(name: str) -> str:
    """``name``, or its digest where it would leave no room for the rest."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else sha256(encoded).hexdigest()[:32]

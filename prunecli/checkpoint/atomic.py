"""The one way to its place for every file and directory that is written: whole or not at all.

What is written has a temporary name beside its target, ``.NAME.RANDOM.prune-tmp``, and is locked while its
process lives. It takes the target's place by one rename, after its bytes were synced. A process that is
killed leaves the old or the new whole, and perhaps a temporary that nobody locks: the next write to the same
target removes it. Where there are no such locks (Windows) nothing is swept.
"""

# System calls by their names: what comes of each that fails matters, and is tested one by one.
# ruff: noqa: PTH102, PTH104, PTH105, PTH108, PTH116, PTH208
from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType

from prunecli.errors import OutputError
from prunecli.interrupts import Held, Let

try:
    import fcntl as _fcntl
except ImportError:
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl

TEMPORARY, ASIDE = ".prune-tmp", ".prune-old"
_LONGEST_NAME = 100
_BLOCK = 1 << 26
_TRIES = 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_LOOK = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_EXCHANGE, _HERE = 2, -100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_NOT_SYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES)
_NOT_EXCHANGED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@contextmanager
def as_output_error(path: Path, hint: str = "free some space or give another -o") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write '{path}': {error.strerror or error}", hint) from None


def require_regular(path: Path) -> None:
    """Raise ``OutputError`` for what is there and cannot be replaced by a file: a pipe, a device, a link to
    nothing.
    """
    if is_dangling(path):
        raise OutputError(f"'{path}' is a link to nothing, not a regular file", "give another name")
    if path.exists() and not path.is_file():
        raise OutputError(f"'{path}' is not a regular file", "give another name")


def is_dangling(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def write_whole(path: Path, data: bytes) -> None:
    """``data`` as the file ``path``. Raises ``OSError``; what was there is then as it was."""
    with replacing(path) as new:
        new.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[NewFile]:
    """A file under a temporary name beside ``path`` that takes its place at the end, or goes if anything is
    raised. A link stays, and what it leads to is replaced. An interrupt waits, but for :meth:`NewFile.let`.

    Raises ``OSError``, and then what was there is as it was.
    """
    target = _target(path)
    with Held() as held:
        sweep(target)
        new = NewFile(target, held)
        try:
            yield new
            new.take_place()
        finally:
            new.close()


@contextmanager
def replacing_directory(path: Path) -> Iterator[NewDirectory]:
    """As :func:`replacing`, for a directory as a whole."""
    target = _target(path)
    with Held() as held:
        sweep(target)
        new = NewDirectory(target, held)
        try:
            yield new
            new.take_place()
        finally:
            new.close()


class Writer:
    """A file that did not exist before. ``like``: the one whose owner and permissions it takes over; until
    then nobody else may read it.
    """

    def __init__(self, path: Path, like: os.stat_result | None) -> None:
        self._like = like
        self._handle: int | None = os.open(path, _NEW, 0o666 if like is None else 0o600)

    @property
    def handle(self) -> int:
        if self._handle is None:
            raise ValueError("written to after its end")
        return self._handle

    def write(self, data: bytes | memoryview) -> int:
        """All of ``data``, however little the system takes at once."""
        rest = memoryview(data)
        size = rest.nbytes
        while rest:
            rest = rest[os.write(self.handle, rest[:_BLOCK]) :]
        return size

    def finish(self) -> None:
        """After this its bytes are on the disk. Once is enough."""
        if self._handle is None:
            return
        _take_over(self._handle, self._like)
        os.fsync(self._handle)
        # Whatever close says, the number is free after it, and may be another file's.
        handle, self._handle = self._handle, None
        os.close(handle)

    def abandon(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with suppress(OSError):
                os.close(handle)


class NewFile(Writer):
    """What :func:`replacing` yields. ``path`` is its name until it takes its place."""

    def __init__(self, target: Path, held: Held) -> None:
        self._target, self._held = target, held
        self._lock: int | None = None
        like = _stat(target, stat.S_ISREG, errno.EISDIR)
        for _ in range(_TRIES):
            self.path = _beside(target, TEMPORARY)
            super().__init__(self.path, like)
            try:
                if _is_ours(self.handle):
                    self._lock = None if fcntl is None else os.dup(self.handle)
                    return
            except BaseException:
                self.close()
                raise
            self.close()
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def let(self) -> Let:
        """A part of the work in which an interrupt may come."""
        return self._held.let()

    def take_place(self) -> None:
        self.finish()
        # Once before the rename, when an error still stops it. After it there is nothing to take back: the
        # file is whole, and if the directory is not synced then, a power cut gives the old one or the new.
        _sync_directory(self._target.parent)
        os.replace(self.path, self._target)
        with suppress(OSError):
            _sync_directory(self._target.parent)

    def close(self) -> None:
        """Nothing is left under the temporary name."""
        self.abandon()
        with suppress(OSError):
            os.unlink(self.path)
        if self._lock is not None:
            _unlock([self._lock])


class NewDirectory:
    """What :func:`replacing_directory` yields. ``path`` is its name until it takes its place."""

    def __init__(self, target: Path, held: Held) -> None:
        self._target, self._held = target, held
        self._like = _stat(target, stat.S_ISDIR, errno.ENOTDIR)
        self._locks: list[int] = []
        for _ in range(_TRIES):
            self.path = _beside(target, TEMPORARY)
            os.mkdir(self.path, 0o777 if self._like is None else 0o700)
            try:
                if self._locked(self.path):
                    return
            except BaseException:
                self.close()
                raise
            self.close()
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def let(self) -> Let:
        """A part of the work in which an interrupt may come."""
        return self._held.let()

    @contextmanager
    def file(self, name: str) -> Iterator[Writer]:
        """A file in it, with the permissions of the one of that name in the directory that it replaces."""
        like = _stat(self._target / name, lambda _: True, errno.EINVAL)
        file = Writer(self.path / name, like if like is not None and stat.S_ISREG(like.st_mode) else None)
        try:
            yield file
            file.finish()
        finally:
            file.abandon()

    def finish(self) -> None:
        """After this its names are on the disk, as their bytes are."""
        if self._locks:
            _take_over(self._locks[0], self._like)
            os.fsync(self._locks[0])

    def take_place(self) -> None:
        self.finish()
        _sync_directory(self._target.parent)
        if not any(self._took_place() for _ in range(_TRIES)):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        with suppress(OSError):
            _sync_directory(self._target.parent)

    def close(self) -> None:
        """Nothing is left under the temporary name: what was not put in place, or what was there before."""
        _clear_away(self.path)
        _unlock(self._locks)

    def _locked(self, path: Path) -> bool:
        if fcntl is None:
            return True
        self._locks.append(os.open(path, _LOOK))
        return _is_ours(self._locks[-1])

    def _took_place(self) -> bool:
        """False where another run changed what is there in the meantime."""
        if not os.path.lexists(self._target):
            return _moved(self.path, self._target)
        try:
            return _exchange(self.path, self._target) or self._stepped_in()
        except FileNotFoundError:
            return False

    def _stepped_in(self) -> bool:
        """Where two directories cannot be exchanged, the old one steps aside first, and back on failure. A
        process that is killed in between leaves it aside, from where the next write brings it back.
        """
        aside = _beside(self._target, ASIDE)
        self._locked(self._target)
        os.rename(self._target, aside)
        try:
            moved = _moved(self.path, self._target)
        except OSError:
            os.rename(aside, self._target)
            raise
        _clear_away(aside)
        return moved


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


def _clear_away(directory: Path) -> None:
    """What cannot be removed is left to the next sweep."""
    # Some errors get past ``ignore_errors``.
    with suppress(OSError):
        shutil.rmtree(directory, ignore_errors=True)


def _target(path: Path) -> Path:
    """Where the bytes go: behind links. Strictly, since a link that could not be read would be replaced."""
    try:
        return Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.ENOENT, "a link to nothing, not a regular file") from None
        return Path(os.path.realpath(path.parent, strict=True)) / path.name


def _stat(target: Path, fits: Callable[[int], bool], otherwise: int) -> os.stat_result | None:
    """Of what is to be replaced, if there is anything."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    if fits(found.st_mode):
        return found
    if stat.S_ISDIR(found.st_mode) or otherwise == errno.ENOTDIR:
        raise OSError(otherwise, os.strerror(otherwise))
    raise OSError(errno.EINVAL, "not a regular file")


def _label(name: str) -> str:
    """``name``, or its digest where it would leave no room for the rest."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= _LONGEST_NAME else sha256(encoded).hexdigest()[:32]


def _beside(target: Path, ending: str) -> Path:
    return target.with_name(f".{_label(target.name)}.{secrets.token_hex(8)}{ending}")


def _is_ours(handle: int) -> bool:
    """Lock what was just made. False if a sweep found it before, and removed it."""
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


def _unlock(handles: list[int]) -> None:
    while handles:
        with suppress(OSError):
            os.close(handles.pop())


def _take_over(handle: int, like: os.stat_result | None) -> None:
    """Owner, group and permissions of ``like``. Where the group cannot be had, it may do what all may."""
    if like is None or fcntl is None:
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


def _sync_directory(directory: Path) -> None:
    """Raises ``OSError``, but not where the file system has nothing of the kind."""
    if fcntl is None:
        return
    try:
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NOT_SYNCED:
            raise


def _moved(directory: Path, target: Path) -> bool:
    try:
        os.rename(directory, target)
    except OSError as error:
        if error.errno in _TAKEN:
            return False
        raise
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Both names at once, so that there is no instant without either; False where the system cannot."""
    call = _renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_EXCHANGED:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _renameat2() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    call: Callable[..., int] | None = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call

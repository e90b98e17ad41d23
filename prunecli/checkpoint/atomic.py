"""The one way to its place for every file and directory that is written: whole or not at all.

What is written has a temporary name beside its target and takes the target's place by one rename, after its
bytes were synced. A process that is killed leaves the old or the new whole, and perhaps a temporary: the next
write to the same target removes it.
"""

# System calls by their names: what comes of each that fails matters, and is tested one by one.
# ruff: noqa: PTH102, PTH104, PTH105, PTH108, PTH116
from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prunecli.checkpoint.permissions import take_over
from prunecli.checkpoint.renaming import exchange, moved, sync_directory
from prunecli.checkpoint.temporaries import ASIDE, TEMPORARY, Locks, beside, clear_away, sweep
from prunecli.errors import OutputError
from prunecli.interrupts import Held, Let

_BLOCK = 1 << 26
_TRIES = 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


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
        take_over(self._handle, self._like)
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
        self._locks = Locks()
        like = _stat(target, stat.S_ISREG, errno.EISDIR)
        for _ in range(_TRIES):
            self.path = beside(target, TEMPORARY)
            super().__init__(self.path, like)
            try:
                if self._locks.file(self.handle):
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
        sync_directory(self._target.parent)
        os.replace(self.path, self._target)
        with suppress(OSError):
            sync_directory(self._target.parent)

    def close(self) -> None:
        """Nothing is left under the temporary name."""
        self.abandon()
        with suppress(OSError):
            os.unlink(self.path)
        self._locks.release()


class NewDirectory:
    """What :func:`replacing_directory` yields. ``path`` is its name until it takes its place."""

    def __init__(self, target: Path, held: Held) -> None:
        self._target, self._held = target, held
        self._like = _stat(target, stat.S_ISDIR, errno.ENOTDIR)
        self._locks = Locks()
        for _ in range(_TRIES):
            self.path = beside(target, TEMPORARY)
            os.mkdir(self.path, 0o777 if self._like is None else 0o700)
            try:
                if self._locks.directory(self.path):
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
        handle = self._locks.first
        if handle is not None:
            take_over(handle, self._like)
            os.fsync(handle)

    def take_place(self) -> None:
        self.finish()
        sync_directory(self._target.parent)
        if not any(self._took_place() for _ in range(_TRIES)):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        with suppress(OSError):
            sync_directory(self._target.parent)

    def close(self) -> None:
        """Nothing is left under the temporary name: what was not put in place, or what was there before."""
        clear_away(self.path)
        self._locks.release()

    def _took_place(self) -> bool:
        """False where another run changed what is there in the meantime."""
        if not os.path.lexists(self._target):
            return moved(self.path, self._target)
        try:
            return exchange(self.path, self._target) or self._stepped_in()
        except FileNotFoundError:
            return False

    def _stepped_in(self) -> bool:
        """Where two directories cannot be exchanged, the old one steps aside first, and back on failure. A
        process that is killed in between leaves it aside, from where the next write brings it back.
        """
        aside = beside(self._target, ASIDE)
        self._locks.directory(self._target)
        os.rename(self._target, aside)
        try:
            done = moved(self.path, self._target)
        except OSError:
            os.rename(aside, self._target)
            raise
        clear_away(aside)
        return done


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

"""What a call did besides returning: audit events, memory, time, and what it printed."""

from __future__ import annotations

import io
import os
import resource
import site
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import torch

PROCESSES = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "pty.")
NETWORK = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.")
_CHANGING = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.symlink", "os.link", "shutil.")
_READABLE = tuple(
    os.path.realpath(path)
    for path in (sys.prefix, sys.base_prefix, *site.getsitepackages(), Path(torch.__path__[0]).parent,
                 "/usr", "/lib", "/proc", "/sys", "/dev")
)  # fmt: skip


def _is_own_process(event: str, arguments: tuple[object, ...]) -> bool:
    """The clean process in which files are read and reloaded, and the pair of sockets to it."""
    if event == "socket.__new__":
        return arguments[1] == socket.AF_UNIX
    if event != "subprocess.Popen":
        return False
    words = [str(word) for word in arguments[1]] if isinstance(arguments[1], list | tuple) else []
    return arguments[0] == sys.executable and any("prunecli" in word for word in words)


@dataclass
class Events:
    """What the audit hook saw that nothing on this page allows."""

    allowed: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)
    on: bool = False

    def hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if _is_own_process(event, arguments):
            return
        if event.startswith((*PROCESSES, *NETWORK)) and event != "socket.gethostname":
            self.found.append(f"{event} {arguments!r:.120}")
        elif event == "open" and isinstance(arguments[0], str | bytes):
            self._opened(os.fsdecode(arguments[0]), arguments[1], arguments[2])
        elif event.startswith(_CHANGING) and isinstance(arguments[0], str | bytes | os.PathLike):
            self._changed(event, os.fsdecode(arguments[0]))

    def _opened(self, path: str, mode: object, flags: object) -> None:
        place = os.path.realpath(path)
        writing = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing and not place.startswith(("/dev/", *self.allowed)) and "__pycache__" not in place:
            self.found.append(f"open for writing {path!r:.120}")
        elif not writing and not place.startswith((*_READABLE, *self.allowed)):
            self.found.append(f"open {path!r:.120}")

    def _changed(self, event: str, path: str) -> None:
        if not os.path.realpath(path).startswith(self.allowed) and "__pycache__" not in path:
            self.found.append(f"{event} {path!r:.120}")


_EVENTS: list[Events] = []


@contextmanager
def watched(*allowed: Path) -> Iterator[Events]:
    """Events of what runs inside; files below ``allowed`` (and those of Python itself) may be read."""
    places = tuple(os.path.realpath(path) for path in (Path(__file__).parents[2], *allowed))
    if not _EVENTS:
        _EVENTS.append(Events())
        sys.addaudithook(_EVENTS[0].hook)  # can never be taken out again
    events = _EVENTS[0]
    events.allowed, events.found, events.on = places, [], True
    try:
        yield events
    finally:
        events.on = False


@dataclass(frozen=True)
class Outcome:
    """Of one command: ``code`` 1 where something else than an exit code came out of it."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float
    events: tuple[str, ...]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.split("\n") if line.startswith("error: ")]

    @property
    def is_clean_refusal(self) -> bool:
        """Exit 3 or 4 with exactly one line that says why, and nothing but hints and notes around it."""
        lines = [line for line in self.err.split("\n") if line]
        told = all(line.startswith(("error: ", "hint: ", "note: ")) for line in lines)
        return self.code in (3, 4) and len(self.errors) == 1 and told


def peak() -> float:
    """The most memory this process has had so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ran(call: Callable[[], int], *allowed: Path) -> Outcome:
    """``call`` is what a command does, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, start, hook = peak(), time.process_time(), sys.excepthook
    with watched(*allowed) as events, redirect_stdout(out), redirect_stderr(err):
        try:
            code = call()
        except BaseException as error:
            code = 1
            err.write(f"{type(error).__name__}: {error}\n")
    sys.excepthook = hook
    seconds = time.process_time() - start
    return Outcome(code, out.getvalue(), err.getvalue(), seconds, peak() - before, tuple(events.found))

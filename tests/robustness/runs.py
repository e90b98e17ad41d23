"""One command in a fork of a process that has imported everything: what a user would see, in no time.

A run has a folder of its own, with ``given`` (its inputs), ``out`` (where it writes and stands), ``tmp`` and
``home``; what it leaves outside ``given`` is part of the answer.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunecli import processes

MB = 1 << 20
_PR_SET_CHILD_SUBREAPER = 36
_POLL = 0.01


@dataclass(frozen=True)
class Places:
    root: Path

    @property
    def given(self) -> Path:
        return self.root / "given"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def left(self) -> tuple[str, ...]:
        """What lies in the places that a run may write to."""
        places = (self.out, self.tmp, self.home)
        return tuple(sorted(str(p.relative_to(self.root)) for place in places for p in place.rglob("*")))


@contextlib.contextmanager
def places(parent: Path | None = None) -> Iterator[Places]:
    """A folder for one run, which goes with all that is in it."""
    found = Places(Path(tempfile.mkdtemp(prefix="robust.", dir=parent)))
    try:
        for place in (found.given, found.out, found.tmp, found.home):
            place.mkdir()
        yield found
    finally:
        shutil.rmtree(found.root, ignore_errors=True)


@dataclass(frozen=True)
class Run:
    """``code``: the exit code, minus the signal that ended it, or None where the time was over.
    ``grown``: bytes by which its address space grew; ``own``: where that was watched, the most that it and
    its descendants had for themselves. ``extra``: what ``after`` answered.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    grown: int
    own: int
    left: tuple[str, ...]
    processes: tuple[str, ...]
    extra: Any

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def warm() -> None:
    """Do once what runs do, so that nothing is left to import, and become the one to whom orphans of a run
    are handed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from prunecli.cli import main

    torch.set_num_threads(1)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with places() as at, contextlib.redirect_stdout(io.StringIO()):
        from .bases import CUT, NETWORK, dense, saved

        net = at.given / "net.pth"
        net.write_bytes(saved(dense()))
        for arguments in (["inspect", net, *NETWORK], ["run", net, *NETWORK, *CUT, "--dry-run"]):
            if code := main([str(argument) for argument in arguments]):
                raise RuntimeError(f"prune {arguments[0]} ended with {code}")


def run(
    action: Callable[[], int],
    at: Places,
    *,
    seconds: float = 30,
    memory: int | None = 1 << 30,
    watch: bool = False,
    after: Callable[[int], Any] | None = None,
) -> Run:
    """``action`` in a fork. ``memory``: how much its address space may grow. ``watch``: look at the memory of
    it and its descendants all the time. ``after(code)`` is called in the fork and answers with JSON.
    """
    server = _server()
    before = _children(os.getpid())
    start = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        processes._server = processes._Server(_Lent(server.process.pid), server.line, os.getpid(), True)  # type: ignore[arg-type]
        _child(action, at, memory, after)
    code, peak = _wait(pid, start + seconds, watch, server.process.pid)
    taken = time.monotonic() - start
    if code is None or code < 0:
        # It may have gone in the middle of a request, whose answer would be taken for the next one's.
        processes.close()
    return Run(
        code,
        (at.root / "stdout").read_text(errors="replace"),
        (at.root / "stderr").read_text(errors="replace"),
        taken,
        _number(at.root / "grown"),
        peak,
        at.left(),
        _orphans(before),
        _extra(at.root / "extra"),
    )


@dataclass(frozen=True)
class _Lent:
    """A process that is another's child: it can be ended, but not waited for."""

    pid: int

    def poll(self) -> None:
        return None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, _: float | None = None) -> None:
        return None


def _server() -> processes._Server:
    """The server of fresh processes, kept for all runs: each takes it over for its time, so that none waits
    for its imports. What it forks for a run is part of that run.
    """
    server = processes._running()
    if not server.asked:
        processes.call("reload", {"threads": 1, "inputs": [], "plainly": False, "path": "", "arch": None})
    return server


def command(*arguments: object) -> Callable[[], int]:
    """The whole ``prune`` command, as an action. What its ``main`` lets through ends it as it ends Python."""

    def action() -> int:
        from prunecli.cli import main

        return main([str(argument) for argument in arguments])

    return action


def _child(
    action: Callable[[], int], at: Places, memory: int | None, after: Callable[[int], Any] | None
) -> None:
    """Never returns."""
    code = 1
    try:
        os.setpgid(0, 0)
        # A crash is told by its signal; pytest's handler would print it in the middle of the suite.
        faulthandler.disable()
        # What this process registers is done at its end, what the one before it registered is not.
        atexit._clear()
        _settle(at)
        size = _address_space()
        if memory is not None:
            _limit(size + memory)
        code = _called(action)
        (at.root / "grown").write_text(str(_peak() - size))
        _limit(resource.RLIM_INFINITY)
        if after is not None:
            (at.root / "extra").write_text(json.dumps(after(code)))
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 1
    finally:
        os._exit(code)


def _settle(at: Places) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(at.root / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.chdir(at.out)
    os.environ.update(TMPDIR=str(at.tmp), HOME=str(at.home), XDG_CACHE_HOME=str(at.home))
    tempfile.tempdir = None
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _limit(size: int) -> None:
    """Only the soft limit: the checks afterwards run without."""
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


def _called(action: Callable[[], int]) -> int:
    try:
        return action()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        # For whoever looks into it; the command itself prints no traceback.
        sys.stderr.write("".join(f"| {line}\n" for line in traceback.format_exc().splitlines()[-12:]))
        return 1


def _wait(pid: int, end: float, watch: bool, server: int) -> tuple[int | None, int]:
    """Exit code, and the peak of the memory that it, its descendants and what ``server`` forks have for
    themselves.
    """
    handle = os.pidfd_open(pid)
    peak = 0
    code: int | None = None
    try:
        while True:
            left = end - time.monotonic()
            if select.select([handle], [], [], max(0.0, min(left, _POLL) if watch else left))[0]:
                break
            if watch:
                peak = max(peak, _private([*_descendants(pid), *_descendants(server)[1:]]))
            if left <= 0:
                for one in _descendants(pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(one, signal.SIGKILL)
                break
        over = time.monotonic() >= end
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return (None if over and code == -signal.SIGKILL else code), peak
    finally:
        os.close(handle)


def _children(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(text) for text in task.read_text().split()}
    return found


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        found += _children(one)
    return found


def _private(pids: Sequence[int]) -> int:
    """Bytes that processes share with nobody: what a fork has of its parent is not
    counted, nor what a file behind a mapping holds.
    """
    total = 0
    for one in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Private_Dirty:"):
                    total += int(line.split()[1]) * 1024
    return total


def _orphans(before: set[int]) -> tuple[str, ...]:
    """Processes of a run that are still there two seconds after it. They are ended."""
    end = time.monotonic() + 2
    while left := _children(os.getpid()) - before:
        for one in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(one, os.WNOHANG)
        if time.monotonic() > end:
            names = tuple(_name(one) for one in left)
            for one in left:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(one, signal.SIGKILL)
                    os.waitpid(one, 0)
            return names
        time.sleep(0.005)
    return ()


def _name(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return "gone"


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _peak() -> int:
    """The largest that the address space of this process has been."""
    status = Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) * 1024 for x in status.splitlines() if x.startswith("VmPeak:"))


def _number(path: Path) -> int:
    return int(path.read_text()) if path.exists() else 0


def _extra(path: Path) -> Any:
    return json.loads(path.read_text()) if path.exists() else None


def faults(found: Run, outputs: Sequence[str] = ()) -> list[str]:
    """What is wrong with how a run ended, in the words of the promise: exit 0 with ``outputs`` and nothing
    else, or exit 3 or 4 with one line and nothing at all.
    """
    wrong: list[str] = []
    if found.code is None:
        wrong.append("hangs")
    elif found.code < 0:
        wrong.append(f"signal {signal.Signals(-found.code).name}")
    elif found.code not in (0, 3, 4):
        wrong.append(f"exit {found.code}")
    if found.code in (3, 4) and len(found.errors) != 1:
        wrong.append(f"{len(found.errors)} error lines")
    if found.code == 0 and found.errors:
        wrong.append("exit 0 with an error line")
    noise = [x for x in found.err.splitlines() if not x.startswith(("error: ", "hint: ", "note: ", "| "))]
    if noise:
        wrong.append(f"says on stderr: {noise[0][:60]}")
    wanted = {f"out/{name}" for name in outputs} if found.code == 0 else set()
    if lost := sorted(wanted - set(found.left)):
        wrong.append(f"no {lost[0]}")
    if extra := sorted(set(found.left) - wanted):
        wrong.append(f"leaves {extra[0].rpartition('/')[0]}/*")
    if found.processes:
        wrong.append("leaves a process")
    return wrong


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as they must be: texts to the left, numbers to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    number = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]
    lines = [
        "  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, number, strict=True))
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)

"""Fresh processes, quickly: a server that has imported torch and this package and done nothing else is forked
once for every request, so that the import is paid once.

What runs in such a process has seen no other file, and what it does to itself ends with it. :func:`call` is
for what must not happen here: reading bytes that nobody vouches for, and proving that a written file loads.
Where there is no fork (Windows) every request pays for a process of its own.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any, NoReturn

from prunecli.errors import first_line

JOBS = {"read": "prunecli.checkpoint.isolated", "reload": "prunecli.fresh"}
"""What may be asked for: the ``serve`` of these modules, which takes a request and returns an answer. Where
there are limits their ``confine`` comes first.
"""
MAX_MESSAGE = 64 << 20
_FORKS = hasattr(os, "fork") and hasattr(socket, "AF_UNIX")
_STATM = Path("/proc/self/statm")
_COMMAND = (sys.executable, "-m", "prunecli.processes")
_LENGTH, _END = 8, b"\n"
"""Of a message its length comes first. An answer ends as JSON never does, so that half of one is none."""
_PATIENCE = 5.0


class DiedError(Exception):
    """The process gave no answer; the text says why, in one line."""


@dataclass(frozen=True)
class Limits:
    """What one request may use beyond what the process has when it begins: ``memory`` in bytes, ``cpu`` and
    ``wall`` in seconds. They are the kernel's; where it knows them not (memory on macOS) there are none.
    """

    memory: int
    cpu: int
    wall: float


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    line: socket.socket
    owner: int
    asked: bool = False


_lock = threading.Lock()
_server: _Server | None = None


def warm() -> None:
    """Start the server, and do not wait for it: its imports run beside those of this process."""
    if _FORKS:
        with _lock:
            _running()


def call(job: str, request: Mapping[str, Any], limits: Limits | None = None) -> dict[str, Any]:
    """The answer to ``request`` of a fresh process. Raises ``DiedError``."""
    message = json.dumps(
        {
            "job": job,
            "request": dict(request),
            "limits": None if limits is None else asdict(limits),
            "directory": str(Path.cwd()),
            "environment": dict(os.environ),
        }
    ).encode()
    reply = json.loads(_asked(message) if _FORKS else _asked_alone(message))
    if "answer" not in reply:
        raise DiedError(str(reply.get("died", "no answer")))
    answer: dict[str, Any] = reply["answer"]
    return answer


def close() -> None:
    """End the server, and what it may be at."""
    global _server
    with _lock:
        server, _server = _server, None
    if server is not None and server.owner == os.getpid():
        _end(server)


atexit.register(close)


def _running() -> _Server:
    """With the lock held. A process that was forked off this one has no server yet."""
    global _server
    if _server is not None and _server.owner == os.getpid() and _server.process.poll() is None:
        return _server
    if _server is not None:
        _server.line.close()
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*_COMMAND, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # A Ctrl-C in the terminal is for the command; that ends the server.
            start_new_session=True,
        )
    _server = _Server(process, ours, os.getpid())
    return _server


def _asked(message: bytes) -> bytes:
    with _lock:
        server = _running()
        try:
            server.asked = True
            _send(server.line, message)
            reply = _receive(server.line)
        except OSError:
            reply = b""
        except BaseException:
            # Interrupted half-way: what is still to come must not be taken for the next answer.
            _abandon(server)
            raise
    if not reply:
        close()
        return json.dumps({"died": "the server of fresh processes ended"}).encode()
    return reply


def _abandon(server: _Server) -> None:
    """At the end of the line the server ends what it has forked, and itself."""
    global _server
    _server = None
    _end(server)


def _end(server: _Server) -> None:
    """One that has not answered anything yet may still be importing, and is not waited for."""
    server.line.close()
    try:
        server.process.wait(_PATIENCE if server.asked else 0)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _asked_alone(message: bytes) -> bytes:
    child = subprocess.run(_COMMAND, input=message, capture_output=True)
    return child.stdout or json.dumps({"died": _ended(child.returncode)}).encode()


def _send(line: socket.socket, message: bytes) -> None:
    line.sendall(len(message).to_bytes(_LENGTH, "little") + message)


def _receive(line: socket.socket) -> bytes:
    """One message, or nothing where the other end has gone."""
    size = int.from_bytes(_exactly(line, _LENGTH), "little")
    return _exactly(line, size)


def _exactly(line: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        block = line.recv(min(size - len(found), 1 << 20))
        if not block:
            return b""
        found += block
    return bytes(found)


def _ended(code: int) -> str:
    """``code`` as ``subprocess`` has it: negative for a signal."""
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return f"it ended with exit code {code}"


# From here on: in the server, and in what it forks.


def _serve(line: socket.socket) -> None:
    for module in JOBS.values():
        import_module(module)
    import gc
    import warnings

    # The threads that a numerics library keeps are idle, and begin anew in the child.
    warnings.simplefilter("ignore", DeprecationWarning)
    gc.freeze()
    while message := _receive(line):
        _send(line, _forked(message, line))


def _forked(message: bytes, line: socket.socket) -> bytes:
    task = json.loads(message)
    reading, writing = os.pipe()
    child = os.fork() or _be_it(reading, writing, line, task)
    os.close(writing)
    limits = task["limits"]
    try:
        return _awaited(child, reading, line, limits["wall"] if limits else None)
    finally:
        os.close(reading)


def _be_it(reading: int, writing: int, line: socket.socket, task: Mapping[str, Any]) -> NoReturn:
    """What a fork does: it answers, and never returns."""
    try:
        os.close(reading)
        line.close()
        with os.fdopen(writing, "wb") as file:
            file.write(_answered(task) + _END)
    finally:
        os._exit(0)


def _awaited(child: int, answers: int, line: socket.socket, wall: float | None) -> bytes:
    """What ``child`` writes. It is killed where that takes too long, or where nobody waits any more."""
    found = bytearray()
    end = None if wall is None else time.monotonic() + wall
    reason = ""
    while not reason:
        left = None if end is None else max(0.0, end - time.monotonic())
        ready = select([answers, line.fileno()], [], [], left)[0]
        if answers in ready:
            block = os.read(answers, 1 << 20)
            if not block:
                break
            found += block
        if not ready:
            reason = f"it took more than {wall:.0f} s"
        elif line.fileno() in ready or len(found) > MAX_MESSAGE:
            reason = "it was given up"
    if reason:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if reason or not found.endswith(_END):
        found = bytearray(json.dumps({"died": reason or _ended(code)}).encode())
    return bytes(found)


def _answered(task: Mapping[str, Any]) -> bytes:
    try:
        os.environ.clear()
        os.environ.update(task["environment"])
        os.chdir(task["directory"])
        sys.path[0] = task["directory"]
        job = import_module(JOBS[task["job"]])
        if task["limits"] is not None:
            _limit(Limits(**task["limits"]))
            job.confine(task["request"])
        return json.dumps({"answer": job.serve(task["request"])}).encode()
    # Whatever is raised is the reason why there is no answer.
    except BaseException as error:
        return json.dumps({"died": f"{type(error).__name__}: {first_line(error)}"}).encode()


def _limit(limits: Limits) -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, limits.cpu + int(time.process_time()) + 1)
    size = _address_space()
    if size:
        _lower(resource.RLIMIT_AS, size + limits.memory)


def _lower(what: int, most: int) -> None:
    """Never above what holds already."""
    import resource

    held = [value for value in resource.getrlimit(what) if value != resource.RLIM_INFINITY]
    # At the lower one of seconds the kernel says why, at the upper it only kills.
    resource.setrlimit(what, (min([most, *held]), min([most + 1, *held])))


def _address_space() -> int:
    """Bytes of this process's address space; 0 where the kernel does not tell."""
    try:
        return int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def main(arguments: list[str]) -> None:
    """The server on the socket of that number; with none, one request on stdin."""
    if arguments:
        _serve(socket.socket(fileno=int(arguments[0])))
    else:
        sys.stdout.buffer.write(_answered(json.loads(sys.stdin.buffer.read())))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Fresh processes: what one leaves behind the next does not see; limits, deaths, interrupts end cleanly."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from prunecli import processes
from prunecli.processes import DiedError, Limits, call

JOB = """
import os, signal, sys, time
import prunecli
def confine(request):
    prunecli.confined = True
def serve(request):
    if request.get("raise"):
        raise ValueError("no\\nmore")
    if request.get("leave"):
        os._exit(7)
    if request.get("signal"):
        os.kill(os.getpid(), request["signal"])
    if request.get("fill"):
        return {"filled": len(bytearray(request["fill"]))}
    while request.get("spin"):
        pass
    time.sleep(request.get("sleep", 0))
    before = getattr(prunecli, "left", 0)
    prunecli.left = before + 1
    return {"before": before, "pid": os.getpid(), "directory": os.getcwd(), "first": sys.path[0],
            "word": os.environ.get("PRUNE_TEST_WORD"), "confined": getattr(prunecli, "confined", False)}
"""
START = """
import sys
sys.path.append({folder!r})
from prunecli import processes
processes.JOBS = {{"trial": "trial_job"}}
processes.main(sys.argv[1:])
"""
ROOM = Limits(1 << 30, 10, 30.0)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of its own with a job to try things on, which imports nothing else."""
    (tmp_path / "trial_job.py").write_text(JOB)
    code = START.format(folder=str(tmp_path))
    monkeypatch.setattr(processes, "_COMMAND", (sys.executable, "-c", code))
    processes.close()
    yield
    processes.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_every_request_has_a_process_of_its_own(served: None) -> None:
    first, second = call("trial", {}), call("trial", {})
    assert (first["before"], second["before"]) == (0, 0)
    assert len({first["pid"], second["pid"], os.getpid()}) == 3
    assert not first["confined"]


def test_it_stands_where_the_caller_stands(
    served: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("trial", {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRUNE_TEST_WORD", "later")
    answer = call("trial", {})
    assert (answer["directory"], answer["first"], answer["word"]) == (str(tmp_path), str(tmp_path), "later")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"raise": True}, "ValueError: no"),
        ({"leave": True}, "it ended with exit code 7"),
        ({"signal": int(signal.SIGKILL)}, "it was ended by SIGKILL"),
    ],
)
def test_a_process_without_an_answer_says_why(served: None, request_: Mapping[str, Any], reason: str) -> None:
    with pytest.raises(DiedError) as raised:
        call("trial", request_)
    assert str(raised.value) == reason
    assert call("trial", {})["before"] == 0


def test_limits_hold(served: None) -> None:
    assert call("trial", {}, ROOM)["confined"]
    with pytest.raises(DiedError, match="MemoryError"):
        call("trial", {"fill": 1 << 31}, ROOM)
    assert call("trial", {"fill": 1 << 29}, ROOM)["filled"] == 1 << 29
    with pytest.raises(DiedError, match="SIGXCPU"):
        call("trial", {"spin": True}, Limits(1 << 30, 0, 30.0))
    with pytest.raises(DiedError, match="more than 0 s"):
        call("trial", {"sleep": 30}, Limits(1 << 30, 10, 0.2))
    assert not call("trial", {})["confined"]


def test_an_interrupt_leaves_no_process_and_no_answer_for_the_next(served: None) -> None:
    server = processes._running()
    call("trial", {})
    signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(KeyboardInterrupt):
        call("trial", {"sleep": 60})
    assert not alive(server.process.pid)
    assert call("trial", {})["before"] == 0


def test_a_server_that_was_killed_is_said_and_replaced(served: None) -> None:
    call("trial", {})
    os.kill(processes._running().process.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert call("trial", {})["before"] == 0


def test_a_server_that_dies_over_a_request_is_said(served: None) -> None:
    server = processes._running().process
    call("trial", {})
    signal.signal(signal.SIGALRM, lambda *_: server.kill())
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(DiedError, match="the server of fresh processes ended"):
        call("trial", {"sleep": 5})
    assert call("trial", {})["before"] == 0


def test_a_server_that_went_between_two_requests_is_said(
    served: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    gone = processes._Server(processes._running().process, ours, os.getpid())
    monkeypatch.setattr(processes, "_running", lambda: gone)
    with pytest.raises(DiedError, match="the server of fresh processes ended"):
        call("trial", {})
    ours.close()


def test_one_that_is_not_asked_is_not_waited_for(served: None) -> None:
    start = time.monotonic()
    processes.warm()
    server = processes._running().process
    processes.close()
    assert not alive(server.pid)
    assert time.monotonic() - start < 1


LIMITED = """
import sys
{before}
from prunecli.processes import Limits, _limit
_limit(Limits(1 << 28, 7, 1.0))
import resource
print(resource.getrlimit(resource.RLIMIT_CPU)[0], resource.getrlimit(resource.RLIMIT_AS)[0] > 1 << 28)
"""


@pytest.mark.parametrize(
    ("before", "printed"),
    [
        ("", "8 True"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (6, 6))", "6 True"),
        ("import prunecli.processes as p; p._address_space = lambda: 0", "8 False"),
        ("import prunecli.processes as p; p._STATM = p.Path('/nowhere')", "8 False"),
    ],
)
def test_limits_are_never_above_what_holds(before: str, printed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED.format(before=before)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == printed


def test_a_system_without_limits_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    before = resource.getrlimit(resource.RLIMIT_CPU)
    processes._limit(ROOM)
    assert resource.getrlimit(resource.RLIMIT_CPU) == before


def test_nothing_outlives_the_caller(served: None) -> None:
    """Killed in the middle of a request, so that nothing of it can clean up."""
    code = (
        "from prunecli import processes\n"
        f"processes._COMMAND = {processes._COMMAND!r}\n"
        "print(processes._running().process.pid, flush=True)\n"
        "processes.call('trial', {'sleep': 60})\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    server = int(caller.stdout.readline())
    children = Path(f"/proc/{server}/task/{server}/children")
    end = time.monotonic() + 30
    while not (below := children.read_text().split()) and time.monotonic() < end:
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    pids = [server, *map(int, below)]
    assert len(pids) == 2
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_a_fork_of_the_caller_has_a_server_of_its_own(served: None) -> None:
    call("trial", {})
    ours = processes._running().process.pid
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(processes._running().process.pid).encode())
            processes.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 20))
    os.close(reading)
    os.close(writing)
    assert theirs != ours
    assert call("trial", {})["before"] == 0
    assert processes._running().process.pid == ours


def test_without_forks_a_request_has_an_interpreter_of_its_own(
    served: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_FORKS", False)
    processes.warm()
    assert processes._server is None
    assert call("trial", {})["before"] == 0
    with pytest.raises(DiedError, match="ValueError: no"):
        call("trial", {"raise": True})
    with pytest.raises(DiedError, match="exit code 7"):
        call("trial", {"leave": True})


def test_messages_of_any_size_arrive_whole() -> None:
    ours, theirs = socket.socketpair()
    message = json.dumps({"x": "y" * 100_000}).encode()
    with ours, theirs:
        processes._send(ours, message)
        assert processes._receive(theirs) == message
        ours.close()
        assert processes._receive(theirs) == b""

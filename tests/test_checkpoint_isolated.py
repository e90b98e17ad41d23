"""Reading in a process of its own: the same tensors as here, and limits that hold, each with its one line."""

from __future__ import annotations

import codecs
import os
import pickle
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from prunecli import processes
from prunecli.checkpoint import isolated, pickles
from prunecli.errors import InputError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2, dtype=torch.bfloat16)}


def test_it_hands_over_what_torch_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": TENSORS | {"tied": TENSORS["a.bias"]}, "epoch": 3}, tmp_path / "x.pth")
    monkeypatch.chdir(tmp_path)
    found = isolated.read(Path("x.pth"))
    assert found.notes == ("under 'state_dict'",)
    assert found.dropped == ("epoch",)
    assert list(found.tensors) == ["a.weight", "a.bias", "tied"]
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in TENSORS.items())
    assert found.tensors["tied"] is found.tensors["a.bias"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


def request(path: Path, folder: Path, shown: str = "shown.pth") -> dict[str, str]:
    return {"path": str(path), "shown": shown, "folder": str(folder)}


def test_what_the_process_does(tmp_path: Path) -> None:
    """In this one, which keeps its own threads."""
    threads = torch.get_num_threads()
    torch.save(TENSORS | {"x" * 500: 1}, tmp_path / "x.pth")
    answer = isolated.serve(request(tmp_path / "x.pth", tmp_path))
    torch.set_num_threads(threads)
    assert [row["name"] for row in answer["tensors"]] == list(TENSORS)
    assert answer["dropped"] == ["x" * 200]
    assert answer["error"] == ""
    (tmp_path / "y.pth").write_bytes(b"PK\x03\x04 no zip")
    assert "'shown.pth' is a damaged zip" in isolated.serve(request(tmp_path / "y.pth", tmp_path))["error"]
    (tmp_path / "z.pth").write_bytes(pickle.dumps(os.system))
    refused = isolated.serve(request(tmp_path / "z.pth", tmp_path))
    assert refused["needs_code"] is True
    assert "'shown.pth' is a pickle that needs code" in refused["error"]
    torch.set_num_threads(threads)


def test_out_of_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object) -> None:
        raise MemoryError

    torch.save(TENSORS, tmp_path / "x.pth")
    monkeypatch.setattr(isolated, "unwrap", full)
    threads = torch.get_num_threads()
    answer = isolated.serve(request(tmp_path / "x.pth", tmp_path))
    torch.set_num_threads(threads)
    assert answer["error"] == f"'shown.pth' {pickles.TOO_LARGE}"


def test_a_refusal_comes_as_it_would_from_here(tmp_path: Path) -> None:
    (tmp_path / "z.pth").write_bytes(pickle.dumps(os.system))
    with pytest.raises(pickles.NeedsCodeError, match=r"asks for posix\.system") as raised:
        isolated.read(tmp_path / "z.pth")
    assert raised.value.hint is not None
    torch.save([1, 2], tmp_path / "y.pth")
    with pytest.raises(InputError, match="the file holds a list"):
        isolated.read(tmp_path / "y.pth")


def test_more_than_the_limits_is_one_line_and_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.pth"
    # Legacy: a storage of so many elements is asked for before its bytes are looked at.
    torch.save({"a": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    huge = path.read_bytes().replace(b"cpuq\x06K\x04", b"cpuq\x06\x8a\x05\x00\x00\x00\x00\x0f")
    assert len(huge) > path.stat().st_size
    path.write_bytes(huge)
    start = time.monotonic()
    with pytest.raises(InputError, match="needs more memory than a file of its size may have"):
        isolated.read(path)
    monkeypatch.setattr(isolated, "limits", lambda size: processes.Limits(1 << 30, 0, 0.0))
    with pytest.raises(InputError, match="the process that did so is gone"):
        isolated.read(path)
    assert time.monotonic() - start < 5


def test_the_limits_grow_with_the_file() -> None:
    small, large = isolated.limits(0), isolated.limits(10**9)
    assert (small.memory, large.memory) == (500_000_000, 2_500_000_000)
    assert small.cpu < 5 < large.cpu
    assert small.wall > small.cpu


CONFINED = """
import sys
from prunecli.checkpoint import isolated
import socket, subprocess, os, torch
isolated.confine({{"folder": {folder!r}}})
open({folder!r} + "/inside", "w").close()
open({outside!r}).close()
{act}
print("came through")
"""


@pytest.mark.parametrize(
    "act",
    [
        "os.system('true')",
        "subprocess.run(['true'])",
        "socket.socket()",
        "os.fork()",
        "open({outside!r}, 'a')",
        "os.open({outside!r}, os.O_RDWR)",
        "os.remove({outside!r})",
    ],
)
def test_what_reading_weights_has_no_use_for_ends_the_process(act: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    outside = tmp_path / "outside"
    outside.write_text("as it was")
    code = CONFINED.format(
        folder=str(tmp_path / "folder"), outside=str(outside), act=act.format(outside=str(outside))
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == isolated._FORBIDDEN_EXIT, ran.stderr
    assert ran.stdout == ""
    assert outside.read_text() == "as it was"
    assert (tmp_path / "folder" / "inside").exists()


def test_what_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rule, with the hook and its end in hand."""
    hooks: list[Callable[[str, tuple[object, ...]], None]] = []
    ended: list[int] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(os, "_exit", ended.append)
    searches: list[Callable[[str], object]] = []
    monkeypatch.setattr(codecs, "unregister", lambda search: None)
    monkeypatch.setattr(codecs, "register", searches.append)
    isolated.confine({"folder": "/here"})
    assert searches[0]("latin1") is not None
    assert searches[0]("idna") is None
    for event, arguments in (
        ("open", ("/here/tensors", "wb", os.O_WRONLY | os.O_CREAT)),
        ("open", (b"/here/tensors", "wb", os.O_WRONLY)),
        ("open", ("/elsewhere", "rb", os.O_RDONLY)),
        ("open", (3, "wb", os.O_WRONLY)),
        ("import", ("torch._utils", None)),
    ):
        hooks[0](event, arguments)
    assert ended == []
    for event, arguments in (
        ("open", ("/hereafter", "wb", os.O_WRONLY)),
        ("open", (b"/elsewhere", "ab", os.O_APPEND | os.O_WRONLY)),
        ("os.system", ("true",)),
        ("import", ("encodings.idna", None)),
        ("import", ("torchvision", None)),
    ):
        hooks[0](event, arguments)
    assert ended == [isolated._FORBIDDEN_EXIT] * 5


def test_a_process_that_was_stopped_is_called_hostile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(TENSORS, tmp_path / "x.pth")

    def stopped(*_: object) -> None:
        raise processes.DiedError(f"it ended with exit code {isolated._FORBIDDEN_EXIT}")

    monkeypatch.setattr(processes, "call", stopped)
    with pytest.raises(InputError, match="reach for more than weights"):
        isolated.read(tmp_path / "x.pth")


def test_a_deflated_bomb_is_not_inflated(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x/data.pkl", bytes(10**8))
    with pytest.raises(InputError, match="is packed"):
        isolated.read(tmp_path / "x.pth")

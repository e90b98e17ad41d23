"""Whole or not at all, with the permissions that belong there, whatever fails and whoever writes beside it.

Faults at every single call are in tests/robustness/faults.py, kills in tests/robustness/kills.py.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from writing_examples import LEFT, names_in, replaced

from prunecli.checkpoint import atomic, renaming, temporaries
from prunecli.checkpoint.atomic import replacing, replacing_directory, require_regular, write_whole
from prunecli.checkpoint.temporaries import TEMPORARY
from prunecli.errors import OutputError


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renaming, "renameat2", lambda: None)


# Targets


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, second = tmp_path / "there" / "x", tmp_path / "link", tmp_path / "second"
    target.write_bytes(b"old")
    link.symlink_to("there/x")
    second.symlink_to("link")
    with replacing(second) as new:
        new.write(b"new")
        assert new.path.parent == target.parent.resolve()
    assert (target.read_bytes(), str(link.readlink()), str(second.readlink())) == (b"new", "there/x", "link")
    assert names_in(target.parent) == ["x"]
    (tmp_path / "folder").symlink_to("there")
    write_whole(tmp_path / "folder" / "y", b"y")
    assert names_in(target.parent) == ["x", "y"]


def test_a_linked_directory_too(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "d", tmp_path / "link"
    target.mkdir(parents=True)
    link.symlink_to("there/d")
    with replacing_directory(link) as new, new.file("x") as file:
        file.write(b"new")
    assert (str(link.readlink()), names_in(target), names_in(target.parent)) == ("there/d", ["x"], ["d"])


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    fifo, loop, dangling, folder = (tmp_path / name for name in ("fifo", "loop", "dangling", "folder"))
    os.mkfifo(fifo)
    loop.symlink_to("loop")
    dangling.symlink_to("none")
    folder.mkdir()
    for path in (fifo, dangling, loop, folder, Path("/dev/null"), tmp_path / "none" / "x"):
        with pytest.raises(OSError):
            write_whole(path, b"new")
    for path in (fifo, dangling, loop, Path("/dev/null")):
        with pytest.raises(OutputError, match="not a regular file") as caught:
            require_regular(path)
        assert caught.value.exit_code == 5
    (tmp_path / "x").touch()
    for path in (tmp_path / "x", tmp_path / "new"):
        require_regular(path)
        with pytest.raises(OSError) as refused, replacing_directory(tmp_path / "x"):
            pass
        assert refused.value.errno == errno.ENOTDIR
    assert names_in(tmp_path) == ["dangling", "fifo", "folder", "loop", "x"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_errors_of_the_system_are_errors_of_the_output(tmp_path: Path) -> None:
    for error, reason in ((OSError(errno.ENOSPC, "full"), "full"), (OSError("odd"), "odd")):
        told = f"^cannot write '{tmp_path}': {reason}$"
        with pytest.raises(OutputError, match=told) as caught, atomic.as_output_error(tmp_path, "so"):
            raise error
        assert (caught.value.exit_code, caught.value.hint) == (5, "so")


# Bytes


def test_all_is_written_however_little_the_system_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, data = os.write, bytes(range(256)) * 3
    monkeypatch.setattr(os, "write", lambda handle, part: right(handle, part[:7]))
    with replacing(tmp_path / "x") as new:
        assert new.write(data) == len(data)
        assert new.write(b"") == 0
        assert new.write(memoryview(data)) == len(data)
    assert (tmp_path / "x").read_bytes() == data * 2


def test_after_its_end_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="after its end"), replacing(tmp_path / "x") as new:
        new.finish()
        new.finish()
        new.write(b"late")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError, OSError])
def test_nothing_is_left_of_what_is_stopped(stop: type[BaseException], tmp_path: Path) -> None:
    write_whole(tmp_path / "x", b"old")
    with pytest.raises(stop), replacing(tmp_path / "x") as new, new.let():
        new.write(b"new")
        raise stop
    for _ in range(2):
        with pytest.raises(stop), replacing_directory(tmp_path / "d") as folder, folder.file("y") as file:
            file.write(b"new")
            raise stop
        assert "d" not in names_in(tmp_path) or names_in(tmp_path / "d") == []
        (tmp_path / "d").mkdir(exist_ok=True)
    assert (names_in(tmp_path), (tmp_path / "x").read_bytes()) == (["d", "x"], b"old")


# Two at once, and what killed ones leave


def test_of_two_at_once_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as first:
        first.write(b"first")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert (path.read_bytes(), names_in(tmp_path)) == (b"first", ["x"])


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("swap", ["exchange", "steps"])
def test_of_two_directories_too(
    there: bool, swap: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if swap == "steps":
        request.getfixturevalue("no_exchange")
    path = tmp_path / "d"
    if there:
        path.mkdir()
        (path / "old").touch()
    with replacing_directory(path) as first:
        with first.file("first") as file:
            file.write(b"1")
        with replacing_directory(path) as second, second.file("second") as file:
            file.write(b"2")
        assert names_in(path) == ["second"]
    assert (names_in(path), names_in(tmp_path)) == (["first"], ["d"])


def test_a_system_without_locks_and_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows, where a directory cannot be opened either."""
    right = os.open

    def no_folder(path: Path, *given: int, **more: int) -> int:
        if path == tmp_path:
            raise PermissionError(errno.EACCES, "no")
        return right(path, *given, **more)

    monkeypatch.setattr(temporaries, "fcntl", None)
    monkeypatch.setattr(os, "open", no_folder)
    monkeypatch.setattr(renaming, "renameat2", lambda: None)
    monkeypatch.delattr(os, "fchown")
    orphan = f".x.{LEFT}{TEMPORARY}"
    (tmp_path / orphan).touch()
    for content in (b"old", b"new"):
        write_whole(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == content
        with replacing_directory(tmp_path / "d") as new, new.file(content.decode()) as file:
            file.write(content)
        assert names_in(tmp_path / "d") == [content.decode()]
    assert names_in(tmp_path) == [orphan, "d", "x"]


# Directories in place of directories


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    return tmp_path / "d"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOTEMPTY])
def test_the_second_of_two_steps_fails(
    number: int, no_exchange: None, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one comes back; unless another run has put its own there, which is replaced in its turn."""
    right, failed = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if target == model and source.suffix == TEMPORARY and not failed:
            failed.append(source)
            if number == errno.ENOTEMPTY:
                (model / "other").mkdir(parents=True)
            raise OSError(number, os.strerror(number))
        right(source, target)

    monkeypatch.setattr(os, "rename", rename)
    if number == errno.ENOSPC:
        with pytest.raises(OSError, match="No space"):
            replaced(model)
        assert names_in(model) == ["old"]
    else:
        replaced(model)
        assert names_in(model) == ["new"]
    assert (len(failed), names_in(model.parent)) == (1, ["d"])

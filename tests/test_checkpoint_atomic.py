"""Whole or not at all, with the permissions that belong there, whatever fails and whoever writes beside it.

Faults at every single call are in tests/robustness/faults.py, kills in tests/robustness/kills.py.
"""

from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prunecli.checkpoint import atomic
from prunecli.checkpoint.atomic import (
    ASIDE,
    TEMPORARY,
    replacing,
    replacing_directory,
    require_regular,
    sweep,
    write_whole,
)
from prunecli.errors import OutputError

LEFT = "0123456789abcdef"


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_renameat2", lambda: None)


# Permissions


def test_a_new_file_has_the_permissions_that_the_umask_leaves(
    umask: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the umask, which all threads share, is not touched to find out."""
    monkeypatch.setattr(os, "umask", failing(errno.EPERM))
    write_whole(tmp_path / "x", b"new")
    with replacing_directory(tmp_path / "d") as new, new.file("x") as file:
        file.write(b"new")
    monkeypatch.undo()
    assert (mode(tmp_path / "x"), mode(tmp_path / "d"), mode(tmp_path / "d" / "x")) == (0o640, 0o750, 0o640)


@pytest.mark.parametrize("kept", [0o604, 0o666, 0o600, 0o444])
def test_an_old_file_hands_its_permissions_on(kept: int, umask: None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(kept)
    with replacing(path) as new:
        new.write(b"new")
        assert mode(new.path) & 0o077 == 0
    assert (path.read_bytes(), mode(path)) == (b"new", kept)


def test_so_do_a_directory_and_its_files(umask: None, tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.mkdir()
    path.chmod(0o711)
    (path / "x").write_bytes(b"old")
    (path / "x").chmod(0o606)
    (path / "y").mkdir()
    with replacing_directory(path) as new:
        assert mode(new.path) == 0o700
        for name in ("x", "y"):
            with new.file(name) as file:
                file.write(b"new")
    assert (mode(path), mode(path / "x"), mode(path / "y")) == (0o711, 0o606, 0o640)
    assert names_in(tmp_path) == ["d"]


@pytest.mark.parametrize(
    ("old", "given", "expected"),
    [(0o664, (True,), 0o664), (0o664, (False, True), 0o664), (0o664, (False, False), 0o644),
     (0o640, (False, False), 0o600), (0o607, (False, False), 0o607), (0o675, (False, False), 0o655)],
)  # fmt: skip
def test_a_group_that_cannot_be_kept_gets_no_more_than_all(
    old: int, given: tuple[bool, ...], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(old)
    found, asked = list(path.stat()), []
    found[stat.ST_UID] += 7
    found[stat.ST_GID] += 8

    def chown(_: int, owner: int, group: int) -> None:
        asked.append((owner, group))
        if not given[len(asked) - 1]:
            raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(atomic, "_stat", lambda *_: os.stat_result(found))
    monkeypatch.setattr(os, "fchown", chown)
    write_whole(path, b"new")
    owners = (found[stat.ST_UID], -1)
    assert asked == [(owner, found[stat.ST_GID]) for owner in owners[: len(given)]]
    assert mode(path) == expected


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


def test_long_names(tmp_path: Path) -> None:
    for name in ("n" * 255, "\N{SNOWMAN}" * 85, "x" * 100, "x" * 101):
        path = tmp_path / name
        write_whole(path, b"old")
        with replacing(path) as new:
            new.write(b"new")
            orphan = new.path.with_name(new.path.name[: -len(LEFT + TEMPORARY)] + LEFT + TEMPORARY)
            orphan.touch()
        assert path.read_bytes() == b"new"
        sweep(path)
        assert names_in(tmp_path) == [name]
        path.unlink()


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


def test_orphans_go_and_what_lives_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    orphans = [f".x.json.{LEFT}{TEMPORARY}", f".x.json.{LEFT[::-1]}{TEMPORARY}", f".x.json.{LEFT}{ASIDE}"]
    others = [f".xxjson.{LEFT}{TEMPORARY}", f".x.json.{LEFT}{LEFT}{TEMPORARY}", f".x.json.0{TEMPORARY}",
              f".y.x.json.{LEFT}{TEMPORARY}", f"x.json.{LEFT}{TEMPORARY}", ".x.json.tmp"]  # fmt: skip
    for name in (*orphans[:1], *others):
        (tmp_path / name).touch()
    for name in orphans[1:]:
        (tmp_path / name / "in").mkdir(parents=True)
        (tmp_path / name / "in" / "file").touch()
    fifo, link = f".x.json.{'0' * 16}{TEMPORARY}", f".x.json.{'1' * 16}{TEMPORARY}"
    os.mkfifo(tmp_path / fifo)
    (tmp_path / link).symlink_to(tmp_path / others[0])
    path.touch()
    with replacing(path) as new:
        assert set(names_in(tmp_path)) == {*others, fifo, link, "x.json", new.path.name}
        sweep(path)
        assert new.path.exists()
    assert set(names_in(tmp_path)) == {*others, fifo, link, "x.json"}


def test_a_sweep_that_cannot_look_does_nothing(tmp_path: Path) -> None:
    sweep(tmp_path / "none" / "x")


def test_a_directory_that_was_left_aside_comes_back(tmp_path: Path) -> None:
    """As after a kill between the two renames, where directories cannot be exchanged."""
    aside = tmp_path / f".d.{LEFT}{ASIDE}"
    aside.mkdir()
    (aside / "old").touch()
    with pytest.raises(ZeroDivisionError), replacing_directory(tmp_path / "d"):
        raise ZeroDivisionError
    assert (names_in(tmp_path), names_in(tmp_path / "d")) == (["d"], ["old"])


@pytest.mark.parametrize("how", ["locked by a sweep", "removed by one"])
def test_a_temporary_that_a_sweep_was_quicker_with_is_made_again(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right, seen = fcntl.flock, []

    def first(handle: int, operation: int) -> None:
        seen.append(handle)
        if len(seen) == 1 and how == "locked by a sweep":
            raise BlockingIOError(errno.EWOULDBLOCK, "locked")
        if len(seen) == 1:
            for path in tmp_path.iterdir():
                path.unlink() if path.is_file() else path.rmdir()
        right(handle, operation)

    monkeypatch.setattr(fcntl, "flock", first)
    write_whole(tmp_path / "x", b"new")
    assert len(seen) == 2
    assert ((tmp_path / "x").read_bytes(), names_in(tmp_path)) == (b"new", ["x"])
    (tmp_path / "x").unlink()
    seen.clear()
    with replacing_directory(tmp_path / "d"):
        pass
    assert (len(seen), names_in(tmp_path)) == (2, ["d"])


def test_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(errno.EWOULDBLOCK))
    for write in (replacing, replacing_directory):
        with pytest.raises(OSError) as caught, write(tmp_path / "x"):
            pass
        assert (caught.value.errno, names_in(tmp_path)) == (errno.EBUSY, [])


def test_without_locks_it_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = f".x.{LEFT}{TEMPORARY}"
    (tmp_path / orphan).touch()
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    write_whole(tmp_path / "x", b"new")
    assert names_in(tmp_path) == [orphan, "x"]


def test_a_lock_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for function, write in (("dup", replacing), ("fstat", replacing), ("fstat", replacing_directory)):
        right = getattr(os, function)

        def once(handle: int, function: str = function, right: Callable[..., Any] = right) -> None:
            monkeypatch.setattr(os, function, right)
            raise OSError(errno.EIO, "no")

        monkeypatch.setattr(os, function, once)
        with pytest.raises(OSError, match="no"), write(tmp_path / "x"):
            pass
        assert names_in(tmp_path) == []


def test_a_system_without_fcntl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("atomic_elsewhere", atomic.__file__)
    assert spec is not None and spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.fcntl is None
    orphan = f".x.{LEFT}{TEMPORARY}"
    (tmp_path / orphan).touch()
    for content in (b"old", b"new"):
        elsewhere.write_whole(tmp_path / "x", content)
        assert (tmp_path / "x").read_bytes() == content
        with elsewhere.replacing_directory(tmp_path / "d") as new, new.file(content.decode()) as file:
            file.write(content)
        assert names_in(tmp_path / "d") == [content.decode()]
    assert names_in(tmp_path) == [orphan, "d", "x"]


# The directory around it


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_directory_that_is_not_synced(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that is unknown it is not asked for; where it fails nothing is replaced."""
    write_whole(tmp_path / "x", b"old")
    right = os.fsync

    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, "no")
        right(handle)

    monkeypatch.setattr(os, "fsync", sync)
    if number == errno.EIO:
        with pytest.raises(OSError):
            write_whole(tmp_path / "x", b"new")
    else:
        write_whole(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == (b"old" if number == errno.EIO else b"new")
    assert names_in(tmp_path) == ["x"]


def test_after_the_rename_it_is_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = os.fsync, []

    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            calls.append(handle)
            if len(calls) == 2:
                raise OSError(errno.EIO, "no")
        right(handle)

    monkeypatch.setattr(os, "fsync", sync)
    write_whole(tmp_path / "x", b"new")
    assert (len(calls), names_in(tmp_path)) == (2, ["x"])


# Directories in place of directories


def replaced(path: Path, name: str = "new") -> None:
    with replacing_directory(path) as new, new.file(name) as file:
        file.write(b"x")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    return tmp_path / "d"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EIO, errno.ENOENT])
def test_exchanges_that_the_system_refuses(number: int, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refused(*given: object) -> int:
        asked.append(given)
        atomic.ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(atomic, "_renameat2", lambda: refused)
    if number in (errno.EINVAL, errno.ENOSYS):
        replaced(model)
        assert names_in(model) == ["new"]
    else:
        with pytest.raises(OSError) as caught:
            replaced(model)
        assert caught.value.errno == (errno.EIO if number == errno.EIO else errno.EBUSY)
        assert names_in(model) == ["old"]
    assert names_in(model.parent) == ["d"]
    assert asked[0][0] == asked[0][2] == -100 and asked[0][4] == 2


def test_other_systems_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert atomic._renameat2.__wrapped__() is None
    if sys.platform == "linux":
        assert callable(atomic._renameat2())


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


def test_what_steps_aside_is_locked(no_exchange: None, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run that sweeps between the two renames must not take it for an orphan."""
    right, swept = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if target == model and source.suffix == TEMPORARY:
            sweep(model)
            swept.append(sorted(Path(name).suffix for name in names_in(model.parent)))
        right(source, target)

    monkeypatch.setattr(os, "rename", rename)
    replaced(model)
    assert swept == [[ASIDE, TEMPORARY]]
    assert (names_in(model), names_in(model.parent)) == (["new"], ["d"])

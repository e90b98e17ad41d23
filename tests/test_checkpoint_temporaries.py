from __future__ import annotations

import errno
import fcntl
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from writing_examples import LEFT, failing, names_in, replaced

from prunecli.checkpoint import renaming, temporaries
from prunecli.checkpoint.atomic import replacing, replacing_directory, write_whole
from prunecli.checkpoint.temporaries import ASIDE, TEMPORARY, sweep


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


def test_what_steps_aside_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where directories cannot be exchanged: another run that sweeps between the two renames must not take it
    for an orphan.
    """
    monkeypatch.setattr(renaming, "renameat2", lambda: None)
    model = tmp_path / "d"
    replaced(model, "old")
    right, swept = os.rename, []

    def rename(source: Path, target: Path) -> None:
        if target == model and source.suffix == TEMPORARY:
            sweep(model)
            swept.append(sorted(Path(name).suffix for name in names_in(tmp_path)))
        right(source, target)

    monkeypatch.setattr(os, "rename", rename)
    replaced(model)
    assert swept == [[ASIDE, TEMPORARY]]
    assert (names_in(model), names_in(tmp_path)) == (["new"], ["d"])


def test_where_there_is_no_fcntl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("temporaries_elsewhere", temporaries.__file__)
    assert spec is not None and spec.loader is not None
    elsewhere = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(elsewhere)
    assert elsewhere.fcntl is None

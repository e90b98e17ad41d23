from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from writing_examples import failing, mode, names_in

from prunecli.checkpoint import atomic
from prunecli.checkpoint.atomic import replacing, replacing_directory, write_whole
from prunecli.checkpoint.permissions import take_over


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


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


def test_nothing_is_taken_over_where_there_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No old file; or a system without owners."""
    (tmp_path / "x").touch(0o640)
    with (tmp_path / "y").open("w") as new:
        before = mode(tmp_path / "y")
        take_over(new.fileno(), None)
        monkeypatch.delattr(os, "fchown")
        take_over(new.fileno(), (tmp_path / "x").stat())
    assert mode(tmp_path / "y") == before != 0o640

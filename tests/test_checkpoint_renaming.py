from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest
from writing_examples import names_in, replaced

from prunecli.checkpoint import renaming
from prunecli.checkpoint.atomic import write_whole


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


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EIO, errno.ENOENT])
def test_exchanges_that_the_system_refuses(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "d"
    replaced(model, "old")
    asked = []

    def refused(*given: object) -> int:
        asked.append(given)
        renaming.ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(renaming, "renameat2", lambda: refused)
    if number in (errno.EINVAL, errno.ENOSYS):
        replaced(model)
        assert names_in(model) == ["new"]
    else:
        with pytest.raises(OSError) as caught:
            replaced(model)
        assert caught.value.errno == (errno.EIO if number == errno.EIO else errno.EBUSY)
        assert names_in(model) == ["old"]
    assert names_in(tmp_path) == ["d"]
    assert asked[0][0] == asked[0][2] == -100 and asked[0][4] == 2


def test_other_systems_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "darwin")
        assert renaming.renameat2.__wrapped__() is None
    if sys.platform == "linux":
        assert callable(renaming.renameat2())

"""Every call to the system fails once, with one error; the long form (``faults.py``) takes three."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prunecli.checkpoint import write
from prunecli.checkpoint.atomic import write_whole
from prunecli.errors import OutputError
from prunecli.report.files import write_plan

from .faults import DISPENSABLE, RECIPE, Plan, campaign, limited, names, tensors

MEMORY = Path("/dev/shm")
"""Where syncing takes no time."""
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as name:
        yield Path(name)


def test_the_old_stays_or_the_new_is_whole(folder: Path) -> None:
    made = campaign(folder, (errno.EIO,))
    assert not [(kind, found.wrong) for kind, found in made.items() if found.wrong]
    for kind, found in made.items():
        # What every write does was tried, and what cannot be done without was missed.
        missed = {"mkdir", "write", "fsync", "close"} if "directory" in kind else {"replace", "dup", "write"}
        assert found.failed.keys() >= missed | {"fsync", "close", "open"}
        assert found.tolerated.keys() <= DISPENSABLE
        # Of all syncs the last alone, after the rename.
        assert found.tolerated["fsync"] == 1


def test_a_limit_of_the_kernel_on_the_whole_command(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"old")
    done = limited(out, 20_000)
    first, second = done.stderr.splitlines()
    assert done.returncode == 5
    assert first == f"error: cannot write '{out}': File too large"
    assert second.startswith("hint: ")
    assert (done.stdout, out.read_bytes(), names(tmp_path)) == ("", b"old", {"x.safetensors"})


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere, so the test is somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_directory_that_may_not_be_written_to() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x").write_bytes(b"old")
        (folder / "x").chmod(0o666)
        folder.chmod(0o555)
        try:
            with unprivileged():
                with pytest.raises(OutputError):
                    write(folder / "x", tensors(1), RECIPE, check=lambda _: None, force=True)
                with pytest.raises(OutputError, match="Permission denied"):
                    write_plan(Plan({}, {}), folder / "plan.json")
                with pytest.raises(PermissionError):
                    write_whole(folder / "x", b"new")
            assert ((folder / "x").read_bytes(), names(folder)) == (b"old", {"x"})
        finally:
            folder.chmod(0o700)


def test_a_directory_that_is_gone_when_the_work_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(OutputError, match="No such file"):
        write(folder / "x", tensors(1), RECIPE, check=lambda _: shutil.rmtree(folder), force=False)
    assert names(tmp_path) == set()

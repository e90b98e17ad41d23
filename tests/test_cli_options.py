from __future__ import annotations

from pathlib import Path

import pytest

from prunecli.cli import options
from prunecli.errors import InputError, OutputError, PruneError, UsageError


def test_what_is_said_about_the_network_is_checked_at_once() -> None:
    of = options.network("cifar:resnet20", ["num_classes=10", "aux=false"], ["3,32,32", "ids:int64:1,8"])
    assert of == options.Network(
        "cifar:resnet20", {"num_classes": 10, "aux": False}, ("3,32,32", "ids:int64:1,8")
    )
    assert options.network(None, None, None) == options.Network(None, {}, ())
    with pytest.raises(UsageError, match="name=value"):
        options.network(None, ["width"], None)
    with pytest.raises(UsageError, match="not a size"):
        options.network(None, None, ["3,big"])


def test_what_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(b"x")
    options.require_readable(file)
    with pytest.raises(UsageError, match="no such file"):
        options.require_readable(tmp_path / "b.pth")
    with pytest.raises(InputError, match="is a directory"):
        options.require_readable(tmp_path)


@pytest.mark.parametrize(
    ("name", "force", "error"),
    [
        ("new.safetensors", False, None),
        ("there.safetensors", True, None),
        ("there.safetensors", False, UsageError),
        ("missing/new.safetensors", False, OutputError),
        ("folder", True, OutputError),
    ],
)
def test_what_can_be_written(tmp_path: Path, name: str, force: bool, error: type[PruneError] | None) -> None:
    (tmp_path / "there.safetensors").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    if error is None:
        options.require_writable(tmp_path / name, force)
        return
    with pytest.raises(error) as caught:
        options.require_writable(tmp_path / name, force)
    assert caught.value.hint


def test_one_format_at_a_time() -> None:
    options.require_one_format(True, False)
    options.require_one_format(False, True)
    with pytest.raises(UsageError, match="-q"):
        options.require_one_format(True, True)

from __future__ import annotations

from pathlib import Path

import pytest

from prunecli.cli import options
from prunecli.errors import InputError, OutputError, PruneError, UsageError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("none", None),
        ("null", None),
        ("10", 10),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("relu", "relu"),
        ("", ""),
        ("a=b", "a=b"),
    ],
)
def test_arguments_are_scalars(text: str, value: object) -> None:
    (read,) = options.parse_arguments([f"name={text}"]).values()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("pair", ["width", "=3", "a-b=3", "a.b=3", ""])
def test_anything_else_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="name=value"):
        options.parse_arguments([pair])


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

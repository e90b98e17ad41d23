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


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4 << 30), ("500mb", 500 << 20), ("2", 2 << 30), ("1.5 GiB", 3 << 29)]
)
def test_sizes(text: str, size: int) -> None:
    assert options.bytes_in(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1XB", "1kB", "0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--memory ") as caught:
        options.bytes_in(text)
    assert "GB" in str(caught.value.hint)


def test_endings_and_least_numbers() -> None:
    options.require_ending(Path("a.b.csv"), (".json", ".csv"))
    with pytest.raises(UsageError, match=r"--report a\.txt: no report of that kind"):
        options.require_ending(Path("a.txt"), (".json", ".csv"))
    options.require_from("--seed", 0, 0)
    options.require_from("--threads", None, 1)
    with pytest.raises(UsageError, match="--threads 0 is out of range"):
        options.require_from("--threads", 0, 1)


@pytest.mark.parametrize("loss", [None, "mse", "dir/own.py:f"])
def test_losses(loss: str | None) -> None:
    options.require_scores(None, None, loss, 1.0)
    for typed in ("own.py", "own.py:", "own.txt:f", "MSE"):
        with pytest.raises(UsageError, match="unknown loss"):
            options.require_scores("sum", "none", typed, 1.0)


def test_what_the_system_does_not_let_be_read_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04")

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    options.require_readable(tmp_path / "x.pth")

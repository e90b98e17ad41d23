from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from prunecli.errors import InputError, OutputError, UsageError
from prunecli.training.state import VERSION, read_state, remove_state, write_state


def test_it_comes_back_without_running_anything(tmp_path: Path) -> None:
    path = tmp_path / "run.state.pt"
    write_state(path, {"step": 3, "network": {"w": torch.arange(3.0)}})
    found = read_state(path)
    assert found["step"] == 3
    assert torch.equal(found["network"]["w"], torch.arange(3.0))
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / f".{path.name}.{'0' * 16}.prune-tmp").touch()
    remove_state(path)
    assert not list(tmp_path.iterdir())
    remove_state(path)


@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_full_disk_keeps_the_last_one(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.state.pt"
    write_state(path, {"step": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, stage, full)
        with pytest.raises(OutputError) as caught:
            write_state(path, {"step": 2})
    assert caught.value.exit_code == 5
    assert caught.value.message == (
        "the state of the training could not be written: No space left on device; "
        "run.state.pt is as it was last written"
    )
    assert read_state(path)["step"] == 1
    assert list(tmp_path.iterdir()) == [path]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError) as caught:
            write_state(tmp_path / "other.state.pt", {})
    assert "as it was" not in caught.value.message


def test_what_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "run.state.pt"
    with pytest.raises(UsageError, match="no state to resume from"):
        read_state(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="no state of a training"):
        read_state(path)
    write_state(path, {"step": 1})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="no state of a training"):
        read_state(path)
    torch.save({"version": "other"}, path)
    with pytest.raises(InputError, match="no state that this version reads"):
        read_state(path)
    torch.save({"version": Path("x")}, path)
    with pytest.raises(InputError, match="no state of a training"):
        read_state(path)
    torch.save({"version": VERSION, "of a codec": b"x"}, path)
    with pytest.raises(InputError, match="no state that this version reads"):
        read_state(path)

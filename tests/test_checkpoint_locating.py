"""Files and directories: where the weights are, what config.json implies, where a result may go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from prunecli.checkpoint.locating import (
    bytes_of,
    implied_arch,
    is_written_as_directory,
    refuse_directory,
    weights_in,
)
from prunecli.errors import InputError, OutputError, PruneError, UsageError


def directory(path: Path, config: object = None, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_bytes(b"12345")
    if config is not None:
        (path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def test_one_file_comes_before_shards(tmp_path: Path) -> None:
    both = directory(tmp_path / "a", {}, "model.safetensors", "model.safetensors.index.json")
    assert weights_in(both).name == "model.safetensors"
    shards = directory(tmp_path / "b", {}, "model.safetensors.index.json", "model-00001.safetensors")
    assert weights_in(shards).name == "model.safetensors.index.json"
    assert (bytes_of(both), bytes_of(both / "model.safetensors")) == (5, 5)


@pytest.mark.parametrize(
    ("names", "config", "said", "hint"),
    [
        (("pytorch_model.bin",), {}, "config.json and only pytorch_model.bin", "save_pretrained"),
        ((), {}, "config.json and no weights", "save_pretrained"),
        (("best.pth", "notes.txt"), None, "a directory without model.safetensors", "best.pth"),
        ((), None, "a directory without model.safetensors", "name the file"),
    ],
)
def test_a_directory_without_weights(
    names: tuple[str, ...], config: object, said: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        weights_in(directory(tmp_path / "a", config, *names))
    assert hint in (caught.value.hint or "")


def test_what_a_configuration_implies(tmp_path: Path) -> None:
    weights = "model.safetensors"
    hub = directory(tmp_path / "hub", {"model_type": "bert"}, weights, "other.safetensors")
    timm = directory(tmp_path / "timm", {"architecture": "resnet18", "num_classes": 10}, weights)
    broken = directory(tmp_path / "broken", "{", weights)
    bare = directory(tmp_path / "bare", None, weights)
    assert implied_arch(hub) == implied_arch(hub / weights) == f"hf:{hub}"
    assert implied_arch(hub / "other.safetensors") is None
    assert implied_arch(timm) == "timm:resnet18"
    assert implied_arch(broken) == f"hf:{broken}"
    assert implied_arch(bare) is implied_arch(bare / weights) is None
    assert is_written_as_directory(hub, None)
    assert not is_written_as_directory(timm, None)
    assert not is_written_as_directory(hub, "timm:resnet18")
    assert is_written_as_directory(bare / weights, f"hf:{hub}")


@pytest.mark.parametrize(
    ("name", "force", "error"),
    [
        ("new", False, None),
        ("empty", True, None),
        ("model", True, None),
        ("model", False, UsageError),
        ("source", True, UsageError),
        ("photos", True, OutputError),
        ("file", True, OutputError),
        ("missing/new", False, OutputError),
        ("dangling", True, OutputError),
        ("n" * 300, True, OutputError),
    ],
)
def test_what_a_result_may_replace(
    name: str, force: bool, error: type[PruneError] | None, tmp_path: Path
) -> None:
    """Only a model directory is ever replaced, and only when asked for."""
    source = directory(tmp_path / "source", {}, "model.safetensors")
    directory(tmp_path / "model", {})
    directory(tmp_path / "empty")
    directory(tmp_path / "photos", None, "cat.png")
    (tmp_path / "file").write_text("x")
    (tmp_path / "dangling").symlink_to("none")
    if error is None:
        refuse_directory(tmp_path / name, source, force)
    else:
        with pytest.raises(error):
            refuse_directory(tmp_path / name, source, force)


def test_a_place_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so it is the system's answer that is given."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="may not be written to"):
        refuse_directory(tmp_path / "out")

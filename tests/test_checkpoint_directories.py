"""A model directory appears whole, with the recipe and what belongs to it, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_checkpoint_recipe import RECIPE

from prunecli.checkpoint import atomic, file_digest, read
from prunecli.checkpoint.directories import MAX_COPIED_BYTES, companions, left_out, write_directory
from prunecli.errors import OutputError, UsageError

TENSORS = {"model.a": torch.ones(2), "model.b": torch.arange(3)}
CONFIG = {"hidden_size": 2, "architectures": ["Net"]}


def nothing(path: Path) -> None:
    pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "dense"
    path.mkdir()
    for name in ("config.json", "tokenizer.json", "vocab.txt", "chat_template.jinja", "modeling_own.py",
                 "pytorch_model.bin", "model.safetensors", "README.md", "optimizer.pt"):  # fmt: skip
        (path / name).write_text(name)
    return path


def written(
    out: Path, source: Path, check: Callable[[Path], None] = nothing, force: bool = False, **config: int
) -> str:
    return write_directory(
        out, TENSORS, RECIPE, {**CONFIG, **config}, source=source, check=check, force=force
    )  # fmt: skip


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_weights_recipe_configuration_and_tokenizer_but_no_code(source: Path, tmp_path: Path) -> None:
    digest = written(tmp_path / "small", source)
    assert names_in(tmp_path / "small") == [
        "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "vocab.txt",
    ]  # fmt: skip
    assert digest == file_digest(tmp_path / "small" / "model.safetensors")
    assert json.loads((tmp_path / "small" / "config.json").read_text()) == CONFIG
    assert torch.equal(load_file(tmp_path / "small" / "model.safetensors")["model.a"], torch.ones(2))
    assert read(tmp_path / "small").recipe == RECIPE
    assert (tmp_path / "small").stat().st_mode & 0o777 == source.stat().st_mode & 0o777
    assert names_in(tmp_path) == ["dense", "small"]


def test_what_is_large_is_left(source: Path) -> None:
    with (source / "tokenizer.json").open("wb") as file:
        file.truncate(MAX_COPIED_BYTES + 1)
    assert [path.name for path in companions(source)] == ["chat_template.jinja", "vocab.txt"]


def test_links_that_lead_elsewhere_are_left_out(source: Path, tmp_path: Path) -> None:
    """Else a directory from a stranger would bring files of this machine into what is handed on."""
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (source / "merges.txt").symlink_to("../secret")
    (source / "added_tokens.json").symlink_to(secret)
    (source / "vocab.json").symlink_to("tokenizer.json")
    (source / "spiece.model").symlink_to("nothing")
    assert left_out(source) == ["added_tokens.json", "merges.txt"]
    written(tmp_path / "small", source)
    assert names_in(tmp_path / "small") == [
        "chat_template.jinja", "config.json", "model.safetensors", "tokenizer.json", "vocab.json",
        "vocab.txt",
    ]  # fmt: skip
    assert not (tmp_path / "small" / "vocab.json").is_symlink()
    linked = tmp_path / "linked"
    linked.symlink_to("dense")
    assert left_out(linked) == left_out(source)


@pytest.mark.parametrize("blobs", ["a folder", "a link to elsewhere"])
def test_a_snapshot_of_a_cache_is_links_into_its_blobs(blobs: str, tmp_path: Path) -> None:
    source = tmp_path / "models--a--b" / "snapshots" / "123"
    source.mkdir(parents=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    place = source.parent.parent / "blobs"
    place.mkdir() if blobs == "a folder" else place.symlink_to(elsewhere)
    (place / "abc").write_text("{}")
    (source / "tokenizer.json").symlink_to("../../blobs/abc")
    (source / "vocab.txt").symlink_to(elsewhere / "abc" if blobs == "a folder" else "../../blobs/abc")
    (elsewhere / "abc").touch()
    if blobs == "a folder":
        assert ([path.name for path in companions(source)], left_out(source)) == (
            ["tokenizer.json"], ["vocab.txt"],
        )  # fmt: skip
    else:
        assert (companions(source), left_out(source)) == ([], ["tokenizer.json", "vocab.txt"])


def test_blobs_beside_what_is_no_snapshot(tmp_path: Path) -> None:
    source = tmp_path / "a" / "b" / "c"
    source.mkdir(parents=True)
    (tmp_path / "a" / "blobs").mkdir()
    (tmp_path / "a" / "blobs" / "abc").write_text("{}")
    (source / "tokenizer.json").symlink_to("../../blobs/abc")
    assert left_out(source) == ["tokenizer.json"]


def test_a_failed_check_leaves_nothing(source: Path, tmp_path: Path) -> None:
    def failing(path: Path) -> None:
        assert (path / "model.safetensors").is_file() and (path / "config.json").is_file()
        raise KeyError("no proof")

    with pytest.raises(KeyError):
        written(tmp_path / "small", source, failing)
    assert names_in(tmp_path) == ["dense"]
    written(tmp_path / "small", source)
    with pytest.raises(KeyError):
        written(tmp_path / "small", source, failing, force=True, hidden_size=5)
    assert json.loads((tmp_path / "small" / "config.json").read_text()) == CONFIG
    assert names_in(tmp_path) == ["dense", "small"]


def test_force_replaces_the_whole(source: Path, tmp_path: Path) -> None:
    written(tmp_path / "small", source)
    (tmp_path / "small" / "notes.txt").write_text("old")
    with pytest.raises(UsageError, match="exists"):
        written(tmp_path / "small", source)
    written(tmp_path / "small", source, force=True, hidden_size=7)
    assert json.loads((tmp_path / "small" / "config.json").read_text())["hidden_size"] == 7
    assert "notes.txt" not in names_in(tmp_path / "small")
    assert names_in(tmp_path) == ["dense", "small"]


def test_what_stands_there_comes_back_if_the_swap_fails(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "small", source)

    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic, "exchange", failing)
    with pytest.raises(OutputError, match="No space left"):
        written(tmp_path / "small", source, force=True, hidden_size=9)
    assert json.loads((tmp_path / "small" / "config.json").read_text()) == CONFIG
    assert names_in(tmp_path) == ["dense", "small"]

"""Writing: deterministic, readable by the safetensors library, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from test_checkpoint_recipe import RECIPE

from prunecli.checkpoint import file_digest, read, refuse_target, tensor_digest, write
from prunecli.checkpoint.writing import is_as_written
from prunecli.errors import InputError, OutputError, UsageError

TENSORS = {
    "b.weight": torch.randn(3, 4),
    "a": torch.arange(5, dtype=torch.int64),
    "scalar": torch.tensor(7),
    "half": torch.randn(3, dtype=torch.float16),
    "brain": torch.randn(5).to(torch.bfloat16),
    "flag": torch.tensor([True, False, True]),
    "turned": torch.randn(2, 3).t(),
    "none": torch.empty(0, 3),
}


def passed(path: Path) -> None:
    assert path.exists()


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_library_reads_it_back(tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    digest = write(out, TENSORS, RECIPE, check=passed, force=False)
    back = load_file(out)
    assert back.keys() == TENSORS.keys()
    assert all(back[n].dtype == t.dtype and torch.equal(back[n], t) for n, t in TENSORS.items())
    assert digest == file_digest(out)
    assert names_in(tmp_path) == ["x.safetensors"]
    with safe_open(out, framework="pt") as file:
        assert set(file.metadata()) == {"format", "prunecli.recipe", "prunecli.recipe.sha256"}
    assert int.from_bytes(out.read_bytes()[:8], "little") % 8 == 0


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    first = write(tmp_path / "1.safetensors", TENSORS, RECIPE, check=passed, force=False)
    turned = dict(reversed(TENSORS.items()))
    assert write(tmp_path / "2.safetensors", turned, RECIPE, check=passed, force=False) == first


def test_the_recipe_comes_back(tmp_path: Path) -> None:
    tensors = {"model.a": torch.ones(2)}
    write(tmp_path / "x.safetensors", tensors, RECIPE, check=passed, force=False)
    checkpoint = read(tmp_path / "x.safetensors")
    assert checkpoint.recipe == RECIPE
    assert list(checkpoint.tensors) == ["model.a"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), InputError("no"), ZeroDivisionError()])
def test_nothing_is_left_when_the_check_fails(stop: BaseException, tmp_path: Path) -> None:
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"old")

    def fail(path: Path) -> None:
        raise stop

    with pytest.raises(type(stop)):
        write(out, TENSORS, RECIPE, check=fail, force=True)
    assert names_in(tmp_path) == ["x.safetensors"]
    assert out.read_bytes() == b"old"


def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        write(tmp_path / "x.safetensors", TENSORS, RECIPE, check=passed, force=False)
    assert caught.value.exit_code == 5
    assert names_in(tmp_path) == []


def test_a_dtype_that_safetensors_has_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'c' has dtype torch\.complex64") as caught:
        write(tmp_path / "x", {"c": torch.ones(1, dtype=torch.complex64)}, RECIPE, check=passed, force=False)
    assert "view_as_real" in (caught.value.hint or "")


def test_refused_targets(tmp_path: Path) -> None:
    source = tmp_path / "in.pth"
    source.write_bytes(b"x")
    link = tmp_path / "link.pth"
    link.symlink_to(source)
    refuse_target(tmp_path / "new", source)
    refuse_target(link.with_name("other"), source, force=True)
    for out, error, text in (
        (tmp_path, OutputError, "is a directory"),
        (tmp_path / "no" / "x", OutputError, "does not exist"),
        (source, UsageError, "is the input itself"),
        (link, UsageError, "is the input itself"),
    ):
        with pytest.raises(error, match=text) as caught:
            refuse_target(out, source, force=True)
        assert caught.value.hint
    with pytest.raises(UsageError, match="exists"):
        refuse_target(source)


def test_targets_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fifo, dangling = tmp_path / "fifo", tmp_path / "dangling"
    os.mkfifo(fifo)
    dangling.symlink_to("none")
    for out, text in (
        (fifo, "not a regular file"),
        (dangling, "not a regular file"),
        (Path("/dev/null"), "not a regular file"),
        (tmp_path / ("n" * 300), "too long"),
    ):
        with pytest.raises(OutputError, match=text) as caught:
            refuse_target(out, force=True)
        assert caught.value.hint
    link, asked = tmp_path / "link", []
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").touch()
    link.symlink_to("there/x")
    # Nothing is forbidden to root: what matters is which directory is asked about, and for what.
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    with pytest.raises(OutputError, match="may not be written to"):
        refuse_target(link, force=True)
    assert asked == [(tmp_path.resolve() / "there", os.W_OK | os.X_OK)]


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link.safetensors", tmp_path / "there" / "x.safetensors"
    target.touch(0o600)
    link.symlink_to(target)
    digest = write(link, TENSORS, RECIPE, check=passed, force=True)
    assert (link.is_symlink(), file_digest(target), target.stat().st_mode & 0o777) == (True, digest, 0o600)
    assert (names_in(tmp_path), names_in(target.parent)) == (["link.safetensors", "there"], ["x.safetensors"])


def test_what_a_check_cannot_do_is_an_output_error(tmp_path: Path) -> None:
    """As when no process can be started to load it again."""

    def fail(path: Path) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with pytest.raises(OutputError, match="Resource temporarily unavailable"):
        write(tmp_path / "x", TENSORS, RECIPE, check=fail, force=False)
    assert names_in(tmp_path) == []


def test_tensor_digest_sees_dtype_shape_and_bits() -> None:
    values = [
        torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.int32), -torch.zeros(4), torch.zeros(5)
    ]  # fmt: skip
    assert len({tensor_digest(value) for value in values}) == len(values)
    turned = torch.arange(6.0).reshape(2, 3).t()
    assert tensor_digest(turned) == tensor_digest(turned.contiguous())


def test_a_recipe_that_was_changed_is_not_taken(tmp_path: Path) -> None:
    """One character, without its digest."""
    path = tmp_path / "x.safetensors"
    write(path, {"n": torch.zeros(())}, RECIPE, check=passed, force=False)
    content = path.read_bytes()
    changed = content.replace(b"torchvision:resnet18", b"torchvision:resnet34")
    assert len(changed) == len(content) and changed != content
    path.write_bytes(changed)
    with pytest.raises(InputError, match="digests differ"):
        read(path)


def test_it_is_as_written_to_the_last_byte_of_its_header(tmp_path: Path) -> None:
    path, tensors = tmp_path / "x.safetensors", {"n": torch.zeros(3), "m": torch.ones(2)}
    write(path, tensors, RECIPE, check=passed, force=False)
    assert is_as_written(path, tensors, RECIPE)
    content = path.read_bytes()
    for place in range(8 + int.from_bytes(content[:8], "little")):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert not is_as_written(path, tensors, RECIPE)

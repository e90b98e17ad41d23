"""Reading: every layout of the same weights gives the same tensors; every bad file one line and a code."""

from __future__ import annotations

import argparse
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from prunecli.checkpoint import read, reading, require_finite
from prunecli.errors import InputError, PruneError, UsageError

WEIGHTS = OrderedDict((("a.weight", torch.arange(6.0).reshape(2, 3)), ("a.bias", torch.ones(2))))


def saved(path: Path, data: object) -> Path:
    torch.save(data, path)
    return path


def assert_same(path: Path) -> None:
    tensors = read(path).tensors
    assert list(tensors) == list(WEIGHTS)
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)


LAYOUTS = {
    "plain": (WEIGHTS, ()),
    "state_dict": ({"state_dict": WEIGHTS, "epoch": 3, "optimizer": {"state": {}}}, ("epoch", "optimizer")),
    "nested": ({"model": {"state_dict": WEIGHTS}, "loss": torch.tensor(0.5)}, ("loss",)),
    "parallel": ({"state_dict": {f"module.{name}": t for name, t in WEIGHTS.items()}}, ()),
    "compiled": ({f"_orig_mod.module.{name}": t for name, t in WEIGHTS.items()}, ()),
    "compiled inside": ({name.replace("a.", "a._orig_mod."): t for name, t in WEIGHTS.items()}, ()),
    "lightning": (
        {"state_dict": {f"model.{name}": t for name, t in WEIGHTS.items()}, "global_step": 7},
        ("global_step",),
    ),
    "averaged": (
        {"n_averaged": torch.tensor(3)} | {f"module.{n}": t for n, t in WEIGHTS.items()},
        ("n_averaged",),
    ),
    "own word": ({"generator": WEIGHTS, "steps": 9}, ("steps",)),
    "parameters": (OrderedDict((name, nn.Parameter(t)) for name, t in WEIGHTS.items()), ()),
    "reference script": (
        {"model": WEIGHTS, "args": argparse.Namespace(lr=0.1), "acc": np.float64(0.7)},
        ("args", "acc"),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, tmp_path: Path) -> None:
    data, dropped = LAYOUTS[layout]
    path = saved(tmp_path / "x.pth", data)
    assert_same(path)
    assert read(path).dropped == dropped
    assert not any(t.requires_grad for t in read(path).tensors.values())


def test_the_ending_does_not_matter(tmp_path: Path) -> None:
    save_file(dict(WEIGHTS), tmp_path / "weights.pth")
    assert set(read(tmp_path / "weights.pth").tensors) == set(WEIGHTS)
    assert_same(saved(tmp_path / "weights.safetensors", WEIGHTS))


def test_old_pickle_format(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert_same(tmp_path / "old.tar")


def test_the_model_is_taken_before_its_average_and_said(tmp_path: Path) -> None:
    averaged = {name: t + 1 for name, t in WEIGHTS.items()}
    path = saved(tmp_path / "x.pth", {"model_ema": averaged, "model": WEIGHTS})
    assert_same(path)
    assert "averaged weights" in read(path).layout
    assert read(path).dropped == ("model_ema",)
    alone = read(saved(tmp_path / "y.pth", {"ema": averaged, "epoch": 1}))
    assert torch.equal(alone.tensors["a.bias"], averaged["a.bias"])


def test_layout_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"state_dict": {f"module.{name}": t for name, t in WEIGHTS.items()}})
    assert read(path).layout == "zip pickle, under 'state_dict', prefix 'module.' removed"


def test_a_prefix_that_not_every_name_has_stays(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"module.a": torch.ones(1), "b": torch.ones(1)})
    assert set(read(path).tensors) == {"module.a", "b"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"a": torch.ones(2, dtype=dtype)})
    assert read(path).tensors["a"].dtype == dtype


def test_tied_and_transposed_tensors(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    tensors = read(saved(tmp_path / "x.pth", {"a": weight, "b": weight, "c": weight.t()})).tensors
    assert torch.equal(tensors["a"], tensors["b"])
    assert tensors["c"].is_contiguous() and torch.equal(tensors["c"], weight.t())


def shards(directory: Path) -> Path:
    save_file({"a.weight": WEIGHTS["a.weight"]}, directory / "m-1.safetensors")
    save_file({"a.bias": WEIGHTS["a.bias"]}, directory / "m-2.safetensors")
    index = directory / "m.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a.weight": "m-1.safetensors", "a.bias": "m-2.safetensors"}}))
    return index


def test_shards(tmp_path: Path) -> None:
    index = shards(tmp_path)
    assert_same(index)
    before = read(index).digest
    save_file({"a.bias": torch.zeros(2)}, tmp_path / "m-2.safetensors")
    assert read(index).digest != before


def test_shard_missing_or_outside(tmp_path: Path) -> None:
    index = shards(tmp_path)
    (tmp_path / "m-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"m-2\.safetensors' is missing"):
        read(index)
    index.write_text(json.dumps({"weight_map": {"a": "../m-1.safetensors"}}))
    with pytest.raises(InputError, match="not a plain file name"):
        read(index)


class Custom:
    """Needs code to unpickle."""


def bad_files(directory: Path) -> dict[str, Path]:
    files = {
        name: directory / f"{name}.pth"
        for name in ("empty", "text", "lfs", "binary", "truncated", "cut", "short")
    }
    files["empty"].write_bytes(b"")
    files["text"].write_text("hello world\n")
    files["lfs"].write_text("version https://git-lfs.github.com/spec/v1\n")
    files["binary"].write_bytes(bytes(range(200, 256)))
    files["short"].write_bytes(b"\x00")
    whole = saved(directory / "whole.pth", {"a": torch.ones(1000)}).read_bytes()
    files["truncated"].write_bytes(whole[: len(whole) // 2])
    save_file({"a": torch.ones(1000)}, files["cut"])
    files["cut"].write_bytes(files["cut"].read_bytes()[:2000])
    files["code"] = saved(directory / "code.pth", {"state_dict": WEIGHTS, "config": Custom()})
    files["module"] = saved(directory / "module.pth", nn.Linear(2, 2))
    files["arrays"] = directory / "arrays.pkl"
    files["arrays"].write_bytes(pickle.dumps({"a": np.ones(3)}))
    files["protocol"] = directory / "protocol.pkl"
    files["protocol"].write_bytes(pickle.dumps({"a": 1}, 5))
    files["list"] = saved(directory / "list.pth", [1, 2])
    files["numbers"] = saved(directory / "numbers.pth", {"epoch": 3})
    files["two"] = saved(directory / "two.pth", {"g": WEIGHTS, "d": WEIGHTS})
    files["sparse"] = saved(directory / "sparse.pth", {"a": torch.eye(3).to_sparse()})
    files["directory"] = directory
    return files


REFUSALS = {
    "empty": "is empty",
    "text": "text file that begins 'hello world'",
    "lfs": "Git LFS pointer",
    "binary": "neither safetensors nor torch.save",
    "short": "is not a checkpoint",
    "truncated": "damaged",
    "cut": "damaged safetensors",
    "code": r"needs code to open: it asks for .*Custom",
    "module": r"needs code to open: it asks for torch\.nn\.modules\.linear\.Linear",
    "arrays": r"needs code to open: it asks for numpy\._?core\.multiarray\._reconstruct",
    "protocol": "not one that torch.save makes",
    "list": "the file holds a list",
    "numbers": "no weights found; the file holds 'epoch'",
    "two": "several sets of weights found",
    "sparse": "'a' is not dense",
    "directory": "is a directory",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = bad_files(tmp_path)[name]
    with pytest.raises(InputError, match=REFUSALS[name]) as caught:
        read(path)
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    assert str(path) in caught.value.message
    assert capfd.readouterr() == ("", "")


def test_a_missing_file_is_wrong_usage_with_the_near_name(tmp_path: Path) -> None:
    saved(tmp_path / "resnet50.pth", WEIGHTS)
    with pytest.raises(UsageError, match="no such file") as caught:
        read(tmp_path / "resnet5.pth")
    assert caught.value.hint == "did you mean resnet50.pth?"
    with pytest.raises(UsageError):
        read(tmp_path / "nowhere" / "x.pth")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_never_give_a_traceback(seed: int, tmp_path: Path) -> None:
    """Flip bytes and cut files at random: the answer is tensors or a PruneError, nothing else."""
    chance = np.random.default_rng(seed)
    save_file(dict(WEIGHTS), tmp_path / "a.safetensors")
    torch.save(WEIGHTS, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    saved(tmp_path / "new.pth", WEIGHTS)
    for source in sorted(tmp_path.iterdir()):
        data = bytearray(source.read_bytes())
        for position in chance.integers(0, len(data), 3):
            data[position] = chance.integers(256)
        broken = tmp_path / f"broken-{source.name}"
        broken.write_bytes(bytes(data[: chance.integers(1, len(data) + 1)] if seed % 2 else data))
        try:
            read(broken)
        except PruneError as error:
            assert "\n" not in error.message


def test_require_finite() -> None:
    require_finite({"a": torch.ones(2), "b": torch.ones(2, dtype=torch.int64)})
    with pytest.raises(InputError, match="'b' holds NaN"):
        require_finite({"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])})
    with pytest.raises(InputError, match="'b' holds infinite"):
        require_finite({"b": torch.tensor([float("inf")], dtype=torch.float16)})
    require_finite({"b": torch.tensor([float("inf")])}, limits={"b"})
    with pytest.raises(InputError, match="'b' holds NaN"):
        require_finite({"b": torch.tensor([float("nan")])}, limits={"b"})


def test_what_the_system_does_not_let_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "x.pth", WEIGHTS)

    def broken(*_: object) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(reading, "file_digest", broken)
    with pytest.raises(InputError, match=r"cannot read '.*x\.pth': Input/output error"):
        read(path)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not a regular file"):
        read(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"prunecli.recipe": "{"}, "the recipe in the file is no JSON"),
        ({"prunecli.recipe": "[1]"}, "recipe version None"),
    ],
)
def test_a_recipe_that_is_none(metadata: dict[str, str], reason: str, tmp_path: Path) -> None:
    save_file(dict(WEIGHTS), tmp_path / "x", metadata)
    with pytest.raises(InputError, match=reason):
        read(tmp_path / "x")

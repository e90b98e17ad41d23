"""safetensors: what the library reads is read, shards with it, and what is written is canonical."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file

from prunecli.checkpoint import safetensor_files, strict_json
from prunecli.checkpoint.safetensor_files import (
    DTYPE_NAMES,
    header_of,
    is_index,
    is_safetensors,
    read_one,
    read_shards,
    serialise,
)
from prunecli.errors import InputError

TENSORS = {
    "b": torch.arange(6.0).reshape(2, 3),
    "a": torch.ones(3, dtype=torch.float16),
    "c": torch.tensor(7),
}


def test_the_library_reads_what_is_written_and_the_other_way_round(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.ones(3, dtype=dtype) for dtype in DTYPE_NAMES} | TENSORS
    stream = io.BytesIO()
    serialise(stream, tensors, {"k": "v", "format": "pt"})
    found = load(stream.getvalue())
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name].float(), tensor.float()) for name, tensor in tensors.items())
    save_file(tensors, tmp_path / "x", {"k": "v"})
    read, metadata = read_one(tmp_path / "x")
    assert {name: tensor.dtype for name, tensor in read.items()} == {n: t.dtype for n, t in tensors.items()}
    assert metadata == {"k": "v"}


def test_order_does_not_show() -> None:
    one, other = io.BytesIO(), io.BytesIO()
    serialise(one, TENSORS, {"x": "1", "y": "2"})
    serialise(other, dict(reversed(TENSORS.items())), {"y": "2", "x": "1"})
    assert one.getvalue() == other.getvalue()
    header = header_of(TENSORS, {"x": "1", "y": "2"})
    assert one.getvalue().startswith(header)
    assert len(header) % 8 == 0


def test_the_kind_is_told_by_the_first_bytes(tmp_path: Path) -> None:
    assert is_safetensors((100).to_bytes(8, "little") + b"{")
    assert not is_safetensors((100).to_bytes(8, "little") + b"[")
    assert not is_safetensors(b"short")
    index = tmp_path / "x"
    index.write_text('{"weight_map": {}}')
    assert is_index(index, b'{"weight_map"')
    assert not is_index(index, b"PK")
    with index.open("wb") as file:
        file.truncate(strict_json.MAX_BYTES + 1)
    assert not is_index(index, b'{"weight_map"')


def test_a_file_of_nothing(tmp_path: Path) -> None:
    save_file({}, tmp_path / "x")
    with pytest.raises(InputError, match="holds no tensors"):
        read_one(tmp_path / "x")


def test_what_only_the_library_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(TENSORS, tmp_path / "x")

    def refuse(*_: object, **__: object) -> safe_open:
        raise SafetensorError("odd\nend")

    monkeypatch.setattr(safetensor_files, "safe_open", refuse)
    with pytest.raises(InputError, match=r"is a damaged safetensors file: odd$"):
        read_one(tmp_path / "x")


def shards(folder: Path, names: dict[str, object]) -> Path:
    save_file({"a": torch.ones(2), "more": torch.ones(1)}, folder / "1.safetensors")
    save_file({"b": torch.zeros(2), "a": torch.full((2,), 9.0)}, folder / "2.safetensors")
    (folder / "index.json").write_text(json.dumps({"weight_map": names}))
    return folder / "index.json"


def test_a_tensor_is_that_of_its_own_shard(tmp_path: Path) -> None:
    tensors, digest = read_shards(shards(tmp_path, {"b": "2.safetensors", "a": "1.safetensors"}))
    assert list(tensors) == ["b", "a"]
    assert torch.equal(tensors["a"], torch.ones(2))
    save_file({"b": torch.ones(2), "a": torch.ones(2)}, tmp_path / "2.safetensors")
    assert read_shards(tmp_path / "index.json")[1] != digest


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"a": "1.safetensors", "b": "1.safetensors"}, "'b' is not in the shard that index.json names"),
        ({"a": "3.safetensors"}, r"3\.safetensors' is missing"),
        *(
            ({"a": odd}, "not a plain file name")
            for odd in ("../x", "/etc/passwd", "a/b", "", ".", "..", 3, None)
        ),
        ({}, "has no 'weight_map'"),
    ],
)
def test_an_index_that_does_not_fit(names: dict[str, object], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=reason):
        read_shards(shards(tmp_path, names))


@pytest.mark.parametrize("text", ["[1]", '{"weight_map": [1]}', '{"weight_map": {"a": "b", "a": "c"}}', "{"])
def test_an_index_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError, match=r"index\.json' (is not JSON|has no 'weight_map')"):
        read_shards(tmp_path / "index.json")

"""Headers: what the library writes passes, and nothing that says more than the file has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from prunecli.checkpoint import safetensor_headers, soundness, strict_json
from prunecli.errors import InputError

TENSORS = {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.float16), "none": torch.ones(0, 3)}


def written(path: Path, header: object, data: int = 32) -> Path:
    """A file with ``header``: an object, or text as it is."""
    content = (
        header.encode("utf-8", "surrogatepass") if isinstance(header, str) else json.dumps(header).encode()
    )
    path.write_bytes(len(content).to_bytes(8, "little") + content + bytes(data))
    return path


def entry(begin: int, end: int, shape: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def good() -> dict[str, Any]:
    return {"__metadata__": {"format": "pt"}, "a": entry(0, 24, [2, 3]), "b": entry(24, 32, [4], "F16")}


DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8,
    torch.bool, torch.uint16, torch.uint32, torch.uint64, torch.complex64, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_the_library_writes_passes(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3, 5, dtype=dtype), "y": torch.zeros((), dtype=dtype)}, tmp_path / "x")
    safetensor_headers.check(tmp_path / "x")


def test_the_example_of_these_tests_passes(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "x", {"format": "pt"})
    safetensor_headers.check(tmp_path / "x")
    safetensor_headers.check(written(tmp_path / "y", good()))


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    header = good()
    change(header)
    return header


WRONG: dict[str, tuple[object, str]] = {
    "no object": ([1], "no object"),
    "no json": ("{", "no JSON"),
    "twice": ('{"a": {}, "a": {}}', "twice"),
    "deep": ('{"a":' + "[" * 200_000, "nested too deeply"),
    "metadata": (changed(lambda h: h.update(__metadata__={"x": 1})), "no object of texts"),
    "metadata list": (changed(lambda h: h.update(__metadata__=["x"])), "no object of texts"),
    "entry": (changed(lambda h: h.update(a=[])), "not just dtype"),
    "more": (changed(lambda h: h["a"].update(stride=[1])), "not just dtype"),
    "dtype": (changed(lambda h: h["a"].update(dtype="F128")), "unknown dtype 'F128'"),
    "dtype list": (changed(lambda h: h["a"].update(dtype=["F32"])), "unknown dtype"),
    "huge": (changed(lambda h: h["a"].update(shape=[1 << 40, 1 << 20])), "claims F32"),
    "negative": (changed(lambda h: h["a"].update(shape=[-2, -3])), "no sound shape"),
    "true": (changed(lambda h: h["b"].update(shape=[True, 4])), "no sound shape"),
    "dims": (changed(lambda h: h["b"].update(shape=[1] * 65)), "no sound shape"),
    "text": (changed(lambda h: h["b"].update(shape="4")), "no sound shape"),
    "offsets": (changed(lambda h: h["b"].update(data_offsets=[24])), "no sound shape or place"),
    "backwards": (changed(lambda h: h["b"].update(data_offsets=[32, 24])), "claims F16"),
    "gap": (changed(lambda h: h.update(b=entry(28, 32, [2], "F16"))), "leaves a gap"),
    "overlap": (changed(lambda h: h.update(b=entry(16, 32, [8], "F16"))), "overlaps"),
    "short": (changed(lambda h: h.pop("b")), "take 24 bytes and the file has 32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    header, reason = WRONG[case]
    with pytest.raises(InputError, match="is a damaged safetensors file") as raised:
        safetensor_headers.check(written(tmp_path / "x", header))
    assert reason in raised.value.message
    assert len(raised.value.message) < 400 + len(str(tmp_path))


def test_names_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not print \(U\+001B\)"):
        safetensor_headers.check(written(tmp_path / "x", {"a\x1b[31m": entry(0, 32, [8])}))
    with pytest.raises(InputError, match="has 1025 characters"):
        safetensor_headers.check(written(tmp_path / "x", {"a" * (soundness.MAX_NAME + 1): entry(0, 32, [8])}))


def test_a_header_that_is_not_there_or_too_long(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes((1 << 39).to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="is not all there"):
        safetensor_headers.check(path)
    with path.open("wb") as file:
        file.write((strict_json.MAX_BYTES + 1).to_bytes(8, "little") + b"{")
        file.truncate(strict_json.MAX_BYTES + 100)
    with pytest.raises(InputError, match="more than"):
        safetensor_headers.check(path)

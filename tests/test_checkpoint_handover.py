"""Tensors go over bit for bit, shared ones as one; a list that does not fit the bytes is not believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prunecli.checkpoint.digests import tensor_digest
from prunecli.checkpoint.handover import put, take
from prunecli.errors import InputError

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.bool, torch.complex64,
    torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
]  # fmt: skip


def test_every_dtype_and_shape_goes_over_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    for dtype in DTYPES:
        high = 2 if dtype is torch.bool else 256
        raw = torch.randint(0, high, (6 * dtype.itemsize,), dtype=torch.uint8, generator=generator)
        tensors[str(dtype)] = raw.view(dtype).reshape(2, 3)
        tensors[f"{dtype} scalar"] = raw.view(dtype)[0].clone()
        tensors[f"{dtype} empty"] = torch.empty(0, 3, dtype=dtype)
    found = take(tmp_path, put(tmp_path, tensors))
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert tensor_digest(found[name]) == tensor_digest(tensor), name


def test_what_two_names_share_is_written_once_and_stays_one(tmp_path: Path) -> None:
    weight = torch.arange(6.0)
    found = take(tmp_path, put(tmp_path, {"a": weight, "b": weight, "c": weight.clone()}))
    assert (tmp_path / "tensors").stat().st_size == 48
    assert found["a"] is found["b"]
    assert found["c"] is not found["a"]


def row(**changed: Any) -> dict[str, Any]:
    return {"name": "a", "dtype": "float32", "shape": [3], "same_as": None, **changed}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([row(shape=[4])], "larger than what was read"),
        ([row(), row(name="b", shape=[1])], "larger than what was read"),
        ([row(shape=[1 << 40, 1 << 40])], "larger than what was read"),
        ([row(shape=[-1])], "integer"),
        ([row(dtype="nn")], "unknown dtype"),
        ([row(dtype="load")], "unknown dtype"),
        ([row(same_as="b")], "named before it is there"),
        ([row(extra=1)], "extra"),
        ("x", "a list"),
        ([1], "an object"),
    ],
)
def test_a_list_that_does_not_fit(rows: object, reason: str, tmp_path: Path) -> None:
    put(tmp_path, {"a": torch.ones(3)})
    with pytest.raises(InputError, match=reason):
        take(tmp_path, rows)

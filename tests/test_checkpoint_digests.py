"""Digests tell apart whatever is not the same bit by bit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from prunecli.checkpoint.digests import file_digest, raw_bytes, tensor_digest, tensor_digests, view_of


def test_a_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "x").write_bytes(content)
    assert file_digest(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_bytes_are_those_in_row_major_order() -> None:
    tensor = torch.arange(6, dtype=torch.int16).reshape(2, 3)
    assert bytes(raw_bytes(tensor)) == tensor.numpy().tobytes()
    assert bytes(raw_bytes(tensor.t())) == tensor.t().numpy().tobytes("C")
    assert bytes(raw_bytes(torch.empty(0, 3))) == b""


def test_dtype_shape_and_every_bit_count() -> None:
    zeros = torch.zeros(4)
    alike = [
        zeros,
        zeros.reshape(2, 2),
        torch.zeros(4, dtype=torch.int32),
        -zeros,
        torch.zeros(4, 0),
        torch.zeros(0, 4),
    ]
    assert len({tensor_digest(tensor) for tensor in alike}) == len(alike)
    assert tensor_digest(zeros) == tensor_digest(torch.zeros(8)[::2])
    text = b"float32[4]" + bytes(16)
    assert tensor_digests({"b": zeros, "a": zeros}) == dict.fromkeys("ab", hashlib.sha256(text).hexdigest())


def test_views_are_the_same_only_where_they_are() -> None:
    weight = torch.ones(4, 4)
    assert view_of(weight) == view_of(weight.view(4, 4))
    others = [weight.t(), weight[:2], weight[1:], weight.clone(), weight.view(torch.int32)]
    assert all(view_of(weight) != view_of(other) for other in others)
    assert view_of(torch.empty(0)) != view_of(weight)

"""SHA-256 of files and of tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_BLOCK = 1 << 20


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of the bytes of ``path``. Raises ``OSError``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The elements of ``tensor`` in row-major order, as stored in memory (no copy if on the CPU and
    contiguous).
    """
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")


def view_of(tensor: Tensor) -> object:
    """What two tensors have in common that are the same elements of the same memory."""
    place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
    return place if tensor.numel() else id(tensor)


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 (hex) of dtype, shape and bytes: equal only for tensors that are equal bit by bit."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    digest = hashlib.sha256(f"{dtype}{list(tensor.shape)}".encode())
    digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def tensor_digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """:func:`tensor_digest` of every tensor, by name."""
    return {name: tensor_digest(tensors[name]) for name in sorted(tensors)}

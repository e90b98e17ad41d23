"""Tensors from one process to another: their bytes in a file, and a list that says where which one lies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.checkpoint.digests import raw_bytes, view_of
from prunecli.checkpoint.validation import Fields, integer, list_of, text
from prunecli.errors import InputError

_FILE = "tensors"
_FIELDS = ("name", "dtype", "shape", "same_as")


def put(folder: Path, tensors: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Write ``tensors`` (dense, on the CPU) into ``folder`` and return the list. What two names share is
    written once. Raises ``OSError``.
    """
    rows: list[dict[str, Any]] = []
    first: dict[object, str] = {}
    with (folder / _FILE).open("wb") as file:
        for name, tensor in tensors.items():
            same = first.setdefault(view_of(tensor), name)
            rows.append(
                {
                    "name": name,
                    "dtype": str(tensor.dtype).removeprefix("torch."),
                    "shape": list(tensor.shape),
                    "same_as": None if same == name else same,
                }
            )
            if same == name:
                file.write(raw_bytes(tensor))
    return rows


def take(folder: Path, rows: object) -> dict[str, Tensor]:
    """The tensors that :func:`put` wrote. The list is not believed: raises ``InputError`` where it and the
    file do not fit.
    """
    tensors: dict[str, Tensor] = {}
    with (folder / _FILE).open("rb") as file:
        left = (folder / _FILE).stat().st_size
        for row in list_of(_row)(rows, "tensors"):
            if row["same_as"] is not None:
                tensors[row["name"]] = _known(tensors, row["same_as"])
                continue
            dtype = getattr(torch, row["dtype"], None)
            if not isinstance(dtype, torch.dtype):
                raise InputError(f"tensor '{row['name']}' has the unknown dtype {row['dtype']:.40}")
            left -= math.prod(row["shape"]) * dtype.itemsize
            if left < 0:
                raise InputError(f"tensor '{row['name']}' is larger than what was read")
            tensor = torch.empty(row["shape"], dtype=dtype)
            if tensor.numel():
                file.readinto(raw_bytes(tensor))
            tensors[row["name"]] = tensor
    return tensors


def _row(value: object, where: str) -> dict[str, Any]:
    fields = Fields(value, where, _FIELDS)
    same = fields.take("same_as", lambda found, at: None if found is None else text(found, at))
    return {
        "name": fields.take("name", text),
        "dtype": fields.take("dtype", text),
        "shape": fields.take("shape", list_of(integer)),
        "same_as": same,
    }


def _known(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in tensors:
        raise InputError(f"'{name}' is named before it is there")
    return tensors[name]

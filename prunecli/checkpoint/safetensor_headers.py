"""The header of a safetensors file, checked before anything is done with the data behind it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from prunecli.checkpoint import strict_json
from prunecli.checkpoint.soundness import MAX_DIMS, require_names
from prunecli.errors import InputError

METADATA = "__metadata__"
LENGTH = 8
# Bits, since some have fewer than a byte has.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
_MAX_METADATA = 10_000
_AGAIN = "the copy or download is incomplete; get it again"


def check(path: Path) -> None:
    """Raises ``InputError`` unless the header of ``path`` is JSON of a sensible size that names every tensor
    once, and the tensors fill the rest of the file without a gap and without meeting.
    """
    try:
        _check(path)
    except ValueError as error:
        raise InputError(f"'{path}' is a damaged safetensors file: {error}", _AGAIN) from None


def _check(path: Path) -> None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH), "little")
        held = path.stat().st_size - LENGTH - length
        if held < 0:
            raise ValueError(f"its header of {length} bytes is not all there")
        if length > strict_json.MAX_BYTES:
            raise ValueError(f"its header has {length} bytes, more than {strict_json.MAX_BYTES}")
        try:
            header = strict_json.parsed(file.read(length))
        except ValueError as error:
            raise ValueError(f"its header is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    _check_metadata(header.pop(METADATA, {}))
    require_names(header)
    _check_places([_place(name, entry) for name, entry in header.items()], held)


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"{METADATA} is no object of texts")
    if len(metadata) > _MAX_METADATA:
        raise ValueError(f"{METADATA} has {len(metadata)} entries, more than {_MAX_METADATA}")


def _place(name: str, entry: object) -> tuple[int, int, str]:
    """Where a tensor begins and ends, which is as much as its shape needs."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor '{name}' has not just dtype, shape and data_offsets")
    begin, end = _integers(entry["data_offsets"], name, 2)
    shape = _integers(entry["shape"], name, None)
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in _BITS:
        raise ValueError(f"tensor '{name}' has the unknown dtype {entry['dtype']!r:.40}")
    if end < begin or (end - begin) * 8 != math.prod(shape) * _BITS[entry["dtype"]]:
        raise ValueError(
            f"tensor '{name}' claims {entry['dtype']} {list(shape)!s:.80} and has {end - begin} bytes"
        )
    return begin, end, name


def _integers(value: Any, name: str, wanted: int | None) -> tuple[int, ...]:
    fits = isinstance(value, list) and len(value) <= MAX_DIMS and wanted in (None, len(value))
    if not fits or not all(type(item) is int and 0 <= item < 1 << 63 for item in value):
        raise ValueError(f"tensor '{name}' has no sound shape or place")
    return tuple(value)


def _check_places(places: list[tuple[int, int, str]], held: int) -> None:
    at = 0
    for begin, end, name in sorted(places):
        if begin != at:
            raise ValueError(f"tensor '{name}' {'overlaps another' if begin < at else 'leaves a gap'}")
        at = end
    if at != held:
        raise ValueError(f"its tensors take {at} bytes and the file has {held} for them")

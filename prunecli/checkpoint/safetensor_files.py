"""safetensors bytes: one file, shards with an index, and a canonical serialisation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prunecli.checkpoint import safetensor_headers, strict_json
from prunecli.checkpoint.atomic import Writer
from prunecli.checkpoint.digests import file_digest, raw_bytes
from prunecli.errors import InputError, first_line

DTYPE_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
    torch.uint64: "U64", torch.uint32: "U32", torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def is_safetensors(start: bytes) -> bool:
    """Whether ``start`` is how such a file begins: the length of the header, then its ``{``."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 40


def is_index(path: Path, start: bytes) -> bool:
    """Whether ``path`` is the index of a sharded checkpoint (JSON with a ``weight_map``)."""
    if not start.lstrip().startswith(b"{") or path.stat().st_size > strict_json.MAX_BYTES:
        return False
    return b'"weight_map"' in path.read_bytes()


def read_one(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of one file. Raises ``InputError``."""
    safetensor_headers.check(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except (SafetensorError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = first_line(error)
        raise InputError(
            f"'{path}' is a damaged safetensors file: {reason}",
            "the copy or download is incomplete; get it again",
        ) from None
    if not tensors:
        raise InputError(f"'{path}' holds no tensors", "give the file with the weights")
    return tensors, metadata


def read_shards(index: Path) -> tuple[dict[str, Tensor], str]:
    """Tensors of all shards named in ``index``, and one digest over all files. Raises ``InputError``."""
    names = _shard_of(index)
    tensors: dict[str, Tensor] = {}
    digest = hashlib.sha256(index.read_bytes())
    for shard in sorted(set(names.values())):
        file = index.parent / shard
        if not file.is_file():
            raise InputError(
                f"shard '{file}' is missing", f"all files named in {index.name} must lie beside it"
            )
        found = read_one(file)[0]
        tensors |= {name: tensor for name, tensor in found.items() if names.get(name) == shard}
        digest.update(file_digest(file).encode())
    lost = sorted(names.keys() - tensors.keys())
    if lost:
        raise InputError(f"'{lost[0]}' is not in the shard that {index.name} names", "get the shards again")
    return {name: tensors[name] for name in names}, digest.hexdigest()


def _shard_of(index: Path) -> dict[str, str]:
    try:
        data = strict_json.parsed(index.read_bytes())
    except ValueError as error:
        raise InputError(f"'{index}' is not JSON: {error}", "get the index file again") from None
    names = data.get("weight_map") if isinstance(data, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"'{index}' has no 'weight_map' of names to files", "get the index file again")
    for shard in names.values():
        # A shard is a neighbour: a path would let an index read any file of this machine.
        if not isinstance(shard, str) or Path(shard).name != shard or shard in ("", ".", ".."):
            raise InputError(f"'{index}' names a shard that is not a plain file name: {shard!r:.80}")
    return names


def serialise(file: BinaryIO | Writer, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write ``tensors`` in safetensors format; equal inputs give equal bytes."""
    file.write(header_of(tensors, metadata))
    for name in _order(tensors):
        file.write(raw_bytes(tensors[name]))


def header_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """All that stands before the data: the length of the header, and the header.

    The library's own writer leaves the order of metadata to a hash map, so the header is made here: keys
    sorted, padded to 8 bytes; the wider dtypes first so that every tensor is aligned.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    offset = 0
    for name in _order(tensors):
        tensor = tensors[name]
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": DTYPE_NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end],
        }  # fmt: skip
        offset = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))

"""What a file may claim before anything is done with its data: names that can be printed, tensors that are
as large as the file has bytes for.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from prunecli.checkpoint.digests import view_of
from prunecli.errors import InputError
from prunecli.report.text import size

MAX_NAME = 1024
MAX_TENSORS = 200_000
MAX_DIMS = 64
SLACK = 64 << 20
"""Bytes beyond twice the file that the tensors may take. A buffer that was expanded before it was saved is
larger than what is stored of it; one that is larger than this was made to be."""
# Control, format (direction marks, zero-width), surrogate, line and paragraph separators.
_UNFIT = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def require_names(names: Iterable[str]) -> None:
    """Raises ``InputError`` for a name that is no name: too long, or with characters that do not print."""
    count = 0
    for name in names:
        count += 1
        if len(name) > MAX_NAME:
            raise InputError(
                f"the name of a tensor has {len(name)} characters: '{name[:40]}...'",
                f"no network has names of more than {MAX_NAME}",
            )
        odd = next((c for c in name if unicodedata.category(c) in _UNFIT), None)
        if odd is not None:
            raise InputError(
                f"the name of tensor '{name[:80]}' has a character that does not print (U+{ord(odd):04X})",
                "the file was made to mislead, or is damaged; rename the tensor where you trust it",
            )
    if count > MAX_TENSORS:
        raise InputError(f"the file holds {count} tensors; no network has more than {MAX_TENSORS}")


def is_eight_bit_float(tensor: Tensor) -> bool:
    """Whether torch can only store ``tensor``: of such it has neither sums nor ``isfinite``."""
    return tensor.is_floating_point() and tensor.element_size() == 1


def dense(tensors: Mapping[str, Tensor], stored: int) -> dict[str, Tensor]:
    """``tensors``, contiguous; ``stored`` is the size of the file in bytes. Those that are the same stay the
    same. Raises ``InputError`` for a sparse, quantised or nested one, and for what is far larger than the
    file.
    """
    made: dict[object, Tensor] = {}
    room = 2 * stored + SLACK
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        _require_dense(name, tensor)
        key = view_of(tensor)
        if key not in made:
            room -= tensor.numel() * tensor.element_size()
            if room < 0:
                raise InputError(
                    f"tensor '{name}' claims {tensor.numel()} elements {list(tensor.shape)}, where "
                    f"{size(tensor.untyped_storage().nbytes())} are stored",
                    "the file was made to fill the memory of whoever reads it",
                )
            made[key] = tensor.resolve_conj().resolve_neg().contiguous()
        result[name] = made[key]
    return result


def _require_dense(name: str, tensor: Tensor) -> None:
    layout = tensor.layout
    if layout is not torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
        raise InputError(
            f"tensor '{name}' is not dense ({str(layout).removeprefix('torch.')}, {tensor.dtype})",
            "save the float weights of the network, before quantisation or sparsification",
        )
    if tensor.dim() > MAX_DIMS:
        raise InputError(
            f"tensor '{name}' has {tensor.dim()} dimensions; no network has more than {MAX_DIMS}"
        )

"""Parameter names of files published before a library renamed its layers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# (what the network is, how its layers were called, how they are called now)
_RENAMED = (
    ("densenet", re.compile(r"(denselayer\d+)\.(norm|conv)\.([12])\."), r"\1.\2\3."),
    ("vision transformer", re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    ("vision transformer", re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)


def modern(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """``tensors`` under today's names, in the same order, and a note for each kind of network renamed."""
    result = dict(tensors)
    notes: dict[str, None] = {}
    for kind, old, new in _RENAMED:
        renamed = {old.sub(new, name): tensor for name, tensor in result.items()}
        if renamed.keys() != result.keys() and len(renamed) == len(result):
            result = renamed
            notes[f"old {kind} names translated"] = None
    return result, tuple(notes)

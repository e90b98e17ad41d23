"""The only room that touches untrusted bytes: reading, unwrapping, writing, and the recipe in the file.

Names are imported on first use: what only describes an input or a recipe does not need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunecli.checkpoint.digests import file_digest, tensor_digest, tensor_digests
    from prunecli.checkpoint.reading import Checkpoint, read, require_finite
    from prunecli.checkpoint.recipe import AttributePatch, Recipe
    from prunecli.checkpoint.specs import InputSpec, Scalar
    from prunecli.checkpoint.writing import refuse_target, write

_MODULE_OF = {
    "AttributePatch": "recipe",
    "Checkpoint": "reading",
    "InputSpec": "specs",
    "Recipe": "recipe",
    "Scalar": "specs",
    "file_digest": "digests",
    "read": "reading",
    "refuse_target": "writing",
    "require_finite": "reading",
    "tensor_digest": "digests",
    "tensor_digests": "digests",
    "write": "writing",
}

__all__ = [
    "AttributePatch",
    "Checkpoint",
    "InputSpec",
    "Recipe",
    "Scalar",
    "file_digest",
    "read",
    "refuse_target",
    "require_finite",
    "tensor_digest",
    "tensor_digests",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'prunecli.checkpoint' has no attribute '{name}'")
    return getattr(import_module(f"prunecli.checkpoint.{_MODULE_OF[name]}"), name)

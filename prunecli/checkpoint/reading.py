"""Reading a checkpoint: safetensors (one file or shards with an index) and pickles that hold only weights.

The format is decided by the first bytes, never by the ending. Nothing in a file is ever executed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from prunecli.checkpoint import isolated, pickles, safetensor_files, strict_json
from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.locating import is_pickle, weights_in
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.soundness import is_eight_bit_float
from prunecli.checkpoint.unwrapping import Unwrapped, unwrap
from prunecli.errors import InputError, UsageError

RECIPE_KEY = "prunecli.recipe"
RECIPE_DIGEST_KEY = "prunecli.recipe.sha256"


@dataclass(frozen=True)
class Checkpoint:
    """What a file, or the weights file of a model directory, holds.

    ``tensors``: by name, wrapper prefixes stripped, contiguous, on the CPU, in the file's own dtype.
    ``layout``: how the weights lay in the file, for people. ``dropped``: what surrounded them.
    ``digest``: SHA-256 of the file (of index and shards together, when sharded).
    """

    path: Path
    tensors: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...]
    digest: str
    recipe: Recipe | None


def read(path: str | Path) -> Checkpoint:
    """Read ``path``. Raises ``UsageError`` if it is missing, ``InputError`` if it is no usable checkpoint."""
    path = Path(path)
    try:
        _require_file(path)
        return _read(path)
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror or error}") from None
    except InputError as error:
        if str(path) in error.message:
            raise
        raise InputError(f"'{path}': {error.message}", error.hint) from None


def require_finite(tensors: Mapping[str, Tensor], *, limits: Container[str] = ()) -> None:
    """Raises ``InputError`` naming the first tensor with a NaN or an infinite value; those of ``limits`` may
    be infinite.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        tensor = tensor.float() if is_eight_bit_float(tensor) else tensor
        if not bool(torch.isfinite(tensor).all()):
            kind = "NaN" if bool(torch.isnan(tensor).any()) else "infinite"
            if kind == "infinite" and name in limits:
                continue
            raise InputError(
                f"tensor '{name}' holds {kind} values", "the training diverged; take an earlier checkpoint"
            )


def _require_file(path: Path) -> None:
    if path.is_dir():
        weights_in(path)
        return
    if path.is_file():
        return
    if path.exists():
        raise InputError(f"'{path}' is not a regular file", "name the file with the weights")
    near: list[str] = []
    if path.parent.is_dir():
        near = get_close_matches(path.name, [p.name for p in path.parent.iterdir() if p.is_file()], n=2)
    raise UsageError(
        f"no such file: '{path}'", f"did you mean {' or '.join(near)}?" if near else "check the path"
    )


def _read(given: Path) -> Checkpoint:
    path = weights_in(given) if given.is_dir() else given
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"'{path}' is empty", "the download or the save was interrupted; get the file again")
    with path.open("rb") as file:
        start = file.read(64)
    if safetensor_files.is_safetensors(start):
        tensors, metadata = safetensor_files.read_one(path)
        recipe = _recipe(metadata)
        kind, digest = "safetensors", file_digest(path)
    elif safetensor_files.is_index(path, start):
        tensors, digest = safetensor_files.read_shards(path)
        recipe, kind = None, "sharded safetensors"
    elif is_pickle(start):
        return _checkpoint(given, isolated.read(path), pickles.kind(start), file_digest(path), None)
    else:
        raise _not_a_checkpoint(path, start)
    # A recipe speaks of the names as they stand in the file, and so does a configuration.
    found = Unwrapped(tensors, (), ()) if recipe or given.is_dir() else unwrap(tensors)
    return _checkpoint(given, found, kind, digest, recipe)


def _checkpoint(path: Path, found: Unwrapped, kind: str, digest: str, recipe: Recipe | None) -> Checkpoint:
    return Checkpoint(path, found.tensors, ", ".join((kind, *found.notes)), found.dropped, digest, recipe)


def _recipe(metadata: Mapping[str, str]) -> Recipe | None:
    if RECIPE_KEY not in metadata:
        return None
    try:
        data = strict_json.parsed(metadata[RECIPE_KEY])
    except ValueError as error:
        raise InputError(
            f"the recipe in the file is no JSON: {error}", "prune the checkpoint again"
        ) from None
    recipe = Recipe.from_json(data)
    if metadata.get(RECIPE_DIGEST_KEY) != sha256(metadata[RECIPE_KEY].encode()).hexdigest():
        raise InputError("the recipe is not the one that was written: digests differ", "get the file again")
    return recipe


def _not_a_checkpoint(path: Path, start: bytes) -> InputError:
    text = start.split(b"\n")[0][:40]
    if all(32 <= byte < 127 for byte in text.rstrip()):
        if text.startswith(b"version https://git-lfs"):
            return InputError(
                f"'{path}' is a Git LFS pointer, not the checkpoint itself", "type: git lfs pull"
            )
        shown = text.decode("ascii").rstrip()
        return InputError(
            f"'{path}' is not a checkpoint but a text file that begins '{shown}'",
            "give a .safetensors, .pth, .pt or .bin file",
        )
    return InputError(
        f"'{path}' is not a checkpoint: neither safetensors nor torch.save begin with {start[:4].hex(' ')}",
        "give a .safetensors, .pth, .pt or .bin file; unpack archives first",
    )

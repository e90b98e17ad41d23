"""Writing the result: whole or not at all, and the same bytes for the same values."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from prunecli.checkpoint.atomic import Writer, as_output_error, replacing, require_regular
from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.reading import RECIPE_DIGEST_KEY, RECIPE_KEY
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.safetensor_files import DTYPE_NAMES, serialise
from prunecli.errors import InputError, OutputError, UsageError


def refuse_target(out: str | Path, source: str | Path | None = None, force: bool = False) -> None:
    """Find out before any work is done that ``out`` cannot be written.

    Raises ``OutputError`` if its directory is missing or not writable, or it is one itself or no regular
    file, ``UsageError`` if it is ``source`` or exists without ``force``.
    """
    out = Path(out)
    with as_output_error(out):
        _refuse_target(out, source, force)


def _refuse_target(out: Path, source: str | Path | None, force: bool) -> None:
    if out.is_dir():
        raise OutputError(f"'{out}' is a directory", f"give a file name: -o {out / 'small.safetensors'}")
    if not out.parent.is_dir():
        raise OutputError(f"directory '{out.parent}' does not exist", f"type: mkdir -p {out.parent}")
    require_regular(out)
    # A link is followed: what is made anew lies where it leads to.
    directory = Path(os.path.realpath(out)).parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputError(f"'{directory}' may not be written to", "choose another place with -o")
    if not out.exists():
        return
    if source is not None and Path(source).exists() and out.samefile(source):
        raise UsageError(f"'{out}' is the input itself; it is never overwritten", "give another -o")
    if not force:
        raise UsageError(f"'{out}' exists", "give another -o, or --force to replace it")


def write(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    *,
    check: Callable[[Path], None],
    force: bool,
) -> str:
    """Write ``tensors`` and ``recipe`` as one safetensors file and return its SHA-256 (hex).

    ``check`` gets the finished file under a temporary name; what it raises stops the write. Nothing appears
    at ``path`` unless all went well. Raises ``UsageError`` (see :func:`refuse_target`) and ``OutputError``.
    """
    path = Path(path)
    refuse_target(path, force=force)
    with as_output_error(path), replacing(path) as new, new.let():
        serialised(new, tensors, recipe)
        new.finish()
        check(new.path)
        return file_digest(new.path)


def serialised(file: Writer, tensors: Mapping[str, Tensor], recipe: Recipe) -> None:
    """One safetensors file with the recipe in its metadata, tensor by tensor. Raises ``InputError`` for a
    dtype it cannot hold.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPE_NAMES:
            raise InputError(
                f"tensor '{name}' has dtype {tensor.dtype}, which safetensors cannot hold",
                "keep a complex tensor as a real one: torch.view_as_real, and view_as_complex in forward"
                if tensor.is_complex()
                else None,
            )
    document = json.dumps(recipe.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
    digest = sha256(document.encode()).hexdigest()
    serialise(file, tensors, {"format": "pt", RECIPE_KEY: document, RECIPE_DIGEST_KEY: digest})

"""Writing the result: whole or not at all, and the same bytes for the same values."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from torch import Tensor

from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.reading import RECIPE_DIGEST_KEY, RECIPE_KEY
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.safetensor_files import DTYPE_NAMES, serialise
from prunecli.errors import InputError, OutputError, UsageError


def refuse_target(out: str | Path, source: str | Path | None = None, force: bool = False) -> None:
    """Find out before any work is done that ``out`` cannot be written.

    Raises ``OutputError`` if its directory is missing or it is one itself, ``UsageError`` if it is
    ``source`` or exists without ``force``.
    """
    out = Path(out)
    if out.is_dir():
        raise OutputError(f"'{out}' is a directory", f"give a file name: -o {out / 'small.safetensors'}")
    if not out.parent.is_dir():
        raise OutputError(f"directory '{out.parent}' does not exist", f"type: mkdir -p {out.parent}")
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
    with _replacing(path) as temporary:
        with as_output_error(path):
            serialised(temporary, tensors, recipe)
        check(temporary)
        with as_output_error(path):
            return file_digest(temporary)


def serialised(path: Path, tensors: Mapping[str, Tensor], recipe: Recipe) -> None:
    """One safetensors file with the recipe in its metadata. Raises ``InputError`` for a dtype it cannot
    hold.
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
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with path.open("wb") as file:
        digest = sha256(document.encode()).hexdigest()
        serialise(file, on_cpu, {"format": "pt", RECIPE_KEY: document, RECIPE_DIGEST_KEY: digest})
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its place at the end, or goes if anything is raised."""
    with as_output_error(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".tmp.safetensors", dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with as_output_error(path):
            temporary.chmod(0o666 & ~umask())
            temporary.replace(path)
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write '{path}': {reason}", "free some space or give another -o") from None


def umask() -> int:
    """mkstemp makes private files; a result should have the mode any new file has."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_directory(directory: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Where weights are and may go: a file, or a model directory (``config.json`` beside safetensors)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from prunecli.checkpoint.atomic import as_output_error, is_dangling
from prunecli.errors import InputError, OutputError, UsageError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def is_model_directory(path: Path) -> bool:
    return (path / CONFIG).is_file()


def weights_in(directory: Path) -> Path:
    """The file with the weights: ``model.safetensors`` or the index of its shards. Raises ``InputError``."""
    for name in (WEIGHTS, INDEX):
        if (directory / name).is_file():
            return directory / name
    others = sorted(p.name for p in directory.iterdir() if p.suffix in ENDINGS)
    if is_model_directory(directory):
        found = f"only {', '.join(others[:3])}" if others else "no weights"
        raise InputError(
            f"'{directory}' has {CONFIG} and {found}",
            f"save it again so that it has {WEIGHTS}: model.save_pretrained(DIR)",
        )
    hint = f"name the file: {directory / others[0]}" if others else "name the file with the weights"
    raise InputError(f"'{directory}' is a directory without {WEIGHTS}", hint)


def implied_arch(path: Path) -> str | None:
    """What ``config.json`` beside the weights says of the network: ``hf:DIR``, ``timm:NAME``, or nothing."""
    directory = path if path.is_dir() else path.parent
    if not is_model_directory(directory) or (directory != path and path.name not in (WEIGHTS, INDEX)):
        return None
    try:
        config = json.loads((directory / CONFIG).read_bytes())
    except (OSError, ValueError, RecursionError):
        return f"hf:{directory}"
    name = config.get("architecture") if isinstance(config, dict) and "model_type" not in config else None
    return f"timm:{name}" if isinstance(name, str) else f"hf:{directory}"


def is_written_as_directory(checkpoint: Path, arch: str | None) -> bool:
    """Whether the result has a ``config.json`` beside its weights."""
    return (arch or implied_arch(checkpoint) or "").startswith("hf:")


def bytes_of(path: Path) -> int:
    """Size of a file, or of the weights in a model directory."""
    return (path / WEIGHTS if path.is_dir() else path).stat().st_size


def refuse_directory(out: Path, source: Path | None = None, force: bool = False) -> None:
    """Find out before any work is done that ``out`` cannot be written as a model directory.

    Raises ``OutputError`` if its parent is missing or something else stands there, ``UsageError`` if it is
    ``source`` or exists without ``force``.
    """
    with as_output_error(out):
        _refuse_directory(out, source, force)


def _refuse_directory(out: Path, source: Path | None, force: bool) -> None:
    parent = out.resolve().parent
    if not parent.is_dir():
        raise OutputError(f"directory '{out.parent}' does not exist", f"type: mkdir -p {out.parent}")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"'{out.parent}' may not be written to", "choose another place with -o")
    if is_dangling(out):
        raise OutputError(f"'{out}' is a link to nothing", "give another -o")
    if not out.exists():
        return
    if source is not None and source.exists() and out.samefile(source):
        raise UsageError(f"'{out}' is the input itself; it is never overwritten", "give another -o")
    if not out.is_dir() or (any(out.iterdir()) and not is_model_directory(out)):
        raise OutputError(f"'{out}' is no model directory; it is not replaced", "give another -o")
    if not force:
        raise UsageError(f"'{out}' exists", "give another -o, or --force to replace it")

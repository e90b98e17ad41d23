"""Writing a model directory: as a whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.locating import CONFIG, WEIGHTS, refuse_directory
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.writing import as_output_error, serialised, sync_directory, umask

MAX_COPIED_BYTES = 64 << 20
# What is used with a network and does not depend on its widths: tokenizers, preprocessing, generation.
_COMPANIONS = (
    "tokenizer*.json", "tokenizer.model", "spiece.model", "sentencepiece*.model", "vocab*.json", "vocab.txt",
    "merges.txt", "special_tokens_map.json", "added_tokens.json", "chat_template.*", "normalizer.json",
    "generation_config.json", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip


def write_directory(
    path: Path,
    tensors: Mapping[str, Tensor],
    recipe: Recipe,
    config: Mapping[str, Any],
    *,
    source: Path,
    check: Callable[[Path], None],
    force: bool,
) -> str:
    """Write a model directory: ``config``, one safetensors file with ``recipe``, and the tokenizers and the
    like of ``source``. Returns the SHA-256 (hex) of the weights.

    ``check`` gets the finished directory under a temporary name; what it raises stops the write. Nothing
    appears at ``path`` unless all went well. Raises as
    :func:`prunecli.checkpoint.locating.refuse_directory`.
    """
    refuse_directory(path, source, force)
    with _replacing(path) as temporary:
        with as_output_error(path):
            serialised(temporary / WEIGHTS, tensors, recipe)
            write_config(temporary, config)
            for companion in companions(source):
                shutil.copyfile(companion, temporary / companion.name)
            sync_directory(temporary)
        check(temporary)
        with as_output_error(path):
            return file_digest(temporary / WEIGHTS)


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (directory / CONFIG).write_text(text, encoding="utf-8")


def companions(source: Path) -> list[Path]:
    """The files of ``source`` that go along; code never does."""
    found = {path for pattern in _COMPANIONS for path in source.glob(pattern)}
    return sorted(
        path for path in found
        if path.is_file() and path.suffix != ".py" and path.stat().st_size <= MAX_COPIED_BYTES
    )  # fmt: skip


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary directory beside ``path`` that takes its place at the end, or goes if anything is
    raised.
    """
    parent = path.resolve().parent
    with as_output_error(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=parent))
    try:
        yield temporary
        with as_output_error(path):
            temporary.chmod(0o777 & ~umask())
            _swap(temporary, path)
            sync_directory(parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: Path, path: Path) -> None:
    """A directory cannot be renamed onto a full one: the old one steps aside first, and back on failure."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = temporary.with_suffix(".old")
    path.rename(aside)
    try:
        temporary.rename(path)
    except OSError:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)

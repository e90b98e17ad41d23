"""Writing a model directory: as a whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from prunecli.checkpoint.atomic import as_output_error, replacing_directory
from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.locating import CONFIG, WEIGHTS, refuse_directory
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.writing import serialised

MAX_COPIED_BYTES = 64 << 20
_BLOCK = 1 << 20
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
    with as_output_error(path), replacing_directory(path) as new, new.let():
        with new.file(WEIGHTS) as file:
            serialised(file, tensors, recipe)
        with new.file(CONFIG) as file:
            file.write((json.dumps(config, indent=2, sort_keys=True) + "\n").encode())
        for companion in companions(source):
            with companion.open("rb") as original, new.file(companion.name) as file:
                while block := original.read(_BLOCK):
                    file.write(block)
        new.finish()
        check(new.path)
        return file_digest(new.path / WEIGHTS)


def companions(source: Path) -> list[Path]:
    """The files of ``source`` that go along; code never does, nor what lies elsewhere."""
    return [path for path in _found(source) if _belongs(path, source)]


def left_out(source: Path) -> list[str]:
    """The names in ``source`` that would go along, did they not lead to a file elsewhere: a directory from a
    stranger must not bring files of this machine into the result.
    """
    return [path.name for path in _found(source) if not _belongs(path, source)]


def _found(source: Path) -> list[Path]:
    # Not glob: it finds nothing in a directory that may not be read, and says nothing.
    return sorted(
        path for path in source.iterdir()
        if any(fnmatchcase(path.name, pattern) for pattern in _COMPANIONS)
        and path.is_file() and path.suffix != ".py" and path.stat().st_size <= MAX_COPIED_BYTES
    )  # fmt: skip


def _belongs(path: Path, source: Path) -> bool:
    """Whether it is a file of ``source``, also where that is a snapshot of a Hugging Face cache, whose files
    are links into ``../../blobs``.
    """
    home, where = source.resolve(strict=True), path.resolve(strict=True)
    cached = home.parent.name == "snapshots" and where.parent == home.parent.parent / "blobs"
    return cached or where.is_relative_to(home)

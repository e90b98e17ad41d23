"""The state of a run on disk: whole or not at all, and nothing in it that runs when it is read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from prunecli.checkpoint import archives, opcodes, pickles
from prunecli.checkpoint.atomic import replacing
from prunecli.checkpoint.temporaries import sweep
from prunecli.errors import InputError, OutputError, UsageError

VERSION = "prunecli.training/1"
CODEC = "_codecs.encode"
"""Nothing in a state is written with it, and it imports what it is asked for."""


def write_state(path: Path, content: Mapping[str, Any]) -> None:
    """Raises ``OutputError`` where there is no room or no leave; the file that was there is then kept."""
    buffer = io.BytesIO()
    torch.save({"version": VERSION, **content}, buffer)
    try:
        with replacing(path) as new, new.let():
            new.write(buffer.getbuffer())
            new.finish()
    except OSError as error:
        kept = f"; {path.name} is as it was last written" if path.exists() else ""
        raise OutputError(
            f"the state of the training could not be written: {error.strerror or error}{kept}",
            "free some space, then go on with --resume" if kept else "free some space or give another -o",
        ) from None


def read_state(path: Path) -> dict[str, Any]:
    """Raises ``UsageError`` where there is none, ``InputError`` for what is no such file."""
    try:
        if not path.exists():
            raise UsageError(f"there is no state to resume from: {path}", "leave --resume out")
        archives.check(path)
        content = None if CODEC in opcodes.names(path) else pickles.load(path)
    except (InputError, OSError):
        raise InputError(f"'{path}' is no state of a training", "leave --resume out; --force") from None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise InputError(f"'{path}' is no state that this version reads", "leave --resume out; --force")
    return content


def remove_state(path: Path) -> None:
    """After the result has taken its place."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
    sweep(path)

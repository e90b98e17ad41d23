"""Pickles that run code when they are opened: ``--unsafe-load``, in a process of their own.

The child (``python -m prunecli.unsafe``) opens the file and hands over tensors as bytes, and
texts in a JSON file; no object of the pickle reaches this process. That keeps objects apart, and is no
protection: the child may do whatever the user may. Without the flag nothing here is called.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.checkpoint import pickles
from prunecli.checkpoint.digests import file_digest
from prunecli.checkpoint.handover import put, take
from prunecli.checkpoint.reading import Checkpoint, read
from prunecli.checkpoint.soundness import dense, require_names
from prunecli.checkpoint.unwrapping import unwrap
from prunecli.checkpoint.validation import Fields, list_of, text
from prunecli.errors import InputError, first_line
from prunecli.networks import ultralytics_names

WARNING = "code in the file was allowed to run (--unsafe-load)"
_AVERAGE, _TRAINED = "ema", "model"
_ANSWER = "answer.json"
_FIELDS = ("tensors", "notes", "layout", "dropped", "arch", "error", "hint")
_MAX_ANSWER = 16 << 20


@dataclass(frozen=True)
class Opened:
    """``arch``: the network that the objects in the file name, as ``--arch`` would; '' where they do not."""

    checkpoint: Checkpoint
    arch: str = ""
    notes: tuple[str, ...] = ()


def opened(path: str | Path, unsafe_load: bool) -> Opened:
    """Read ``path``; only with ``unsafe_load``, and only a pickle that weights-only loading refuses, by
    running it in another process. Raises as :func:`read`, and ``InputError`` if that process fails.
    """
    try:
        return Opened(read(path))
    except pickles.NeedsCodeError:
        if not unsafe_load:
            raise
    return _from_child(Path(path))


def _from_child(path: Path) -> Opened:
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.run(
            [sys.executable, "-m", "prunecli.unsafe", str(path.resolve()), folder],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **ultralytics_names.QUIET, "YOLO_CONFIG_DIR": folder},
        )
        answer = _answer(Path(folder) / _ANSWER, path, child.returncode)
        if answer["error"]:
            raise InputError(f"'{path}': {answer['error']}", answer["hint"] or None)
        tensors = take(Path(folder), answer["tensors"])
    require_names(tensors)
    with path.open("rb") as file:
        kind = pickles.kind(file.read(64))
    layout = ", ".join((f"{kind} opened by running its code", *answer["layout"]))
    checkpoint = Checkpoint(path, tensors, layout, answer["dropped"], file_digest(path), None)
    return Opened(checkpoint, _known(answer["arch"]), (WARNING, *answer["notes"]))


def _answer(place: Path, path: Path, code: int) -> dict[str, Any]:
    """What the child wrote, checked: the code that ran there may have written anything."""
    try:
        if place.stat().st_size > _MAX_ANSWER:
            raise ValueError
        fields = Fields(json.loads(place.read_text(encoding="utf-8")), "answer", _FIELDS)
    except (OSError, ValueError, RecursionError):
        raise InputError(
            f"'{path}': the process that opened it gave no answer (exit code {code})",
            "open it in its own project and torch.save(model.state_dict(), FILE)",
        ) from None
    texts: dict[str, Any] = {key: fields.take(key, text) for key in ("arch", "error", "hint")}
    texts["tensors"] = fields.take("tensors", lambda value, _: value)
    return texts | {key: fields.take(key, list_of(text)) for key in ("notes", "layout", "dropped")}


def _known(arch: str) -> str:
    prefix, _, name = arch.partition(":")
    found = prefix == ultralytics_names.PREFIX and ultralytics_names.is_installed()
    return arch if found and name in ultralytics_names.shipped() else ""


def _serve(path: Path, folder: Path) -> None:
    """In the child: open ``path``, and leave tensors and texts in ``folder``."""
    answer: dict[str, Any] = dict.fromkeys(_FIELDS, "")
    answer |= {"tensors": [], "notes": [], "layout": [], "dropped": []}
    try:
        saved, arch, notes = _weights_in(_run(path))
        found = unwrap(saved)
        answer["tensors"] = put(folder, dense(found.tensors, path.stat().st_size))
        answer |= {"notes": notes, "layout": found.notes, "arch": arch}
        answer["dropped"] = [name[:200] for name in found.dropped]
    except InputError as error:
        answer |= {"error": error.message, "hint": error.hint or ""}
    (folder / _ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def _run(path: Path) -> object:
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the file needs the package {error.name}, which is not installed",
            'type: pip install "prunecli[yolo]"'
            if error.name == ultralytics_names.PREFIX
            else f"run prune where {error.name} can be imported",
        ) from None
    # Whatever foreign code raises becomes one line.
    except Exception as error:
        raise InputError(
            f"opening it raised {type(error).__name__}: {first_line(error)}",
            "open it in its own project and torch.save(model.state_dict(), FILE)",
        ) from None


def _weights_in(saved: object) -> tuple[object, str, list[str]]:
    """Plain containers of tensors in place of modules; what the network says it is; notes.

    Of a module and an average of it ('ema') the average is taken, as ultralytics does: a trainer that saves
    whole modules evaluates that one.
    """
    notes: list[str] = []
    if isinstance(saved, Mapping) and isinstance(saved.get(_AVERAGE), nn.Module):
        if saved.get(_TRAINED) is not None:
            notes.append(f"the averaged weights ('{_AVERAGE}') are taken, not '{_TRAINED}'")
        saved = {key: value for key, value in saved.items() if key != _TRAINED}
    parts = saved.values() if isinstance(saved, Mapping) else [saved]
    arch = next((told for part in parts if (told := _told(part))), "")
    return _plain(saved), arch, notes


def _told(part: object) -> str:
    """ultralytics keeps the YAML that a network was built from, with its name."""
    settings = getattr(part, "yaml", None) if isinstance(part, nn.Module) else None
    name = settings.get("yaml_file") if isinstance(settings, dict) else None
    return f"{ultralytics_names.PREFIX}:{Path(name).stem}" if isinstance(name, str) else ""


def _plain(value: object) -> object:
    if isinstance(value, nn.Module):
        value = value.state_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if isinstance(key, str)}
    return value if isinstance(value, Tensor) else None


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]))

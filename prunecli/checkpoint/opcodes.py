"""What a pickle asks for by name, read off its opcodes: nothing is built, and nothing is imported."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from itertools import islice
from pathlib import Path
from typing import IO

MAX_OPCODES = 1_000_000
_MAX_PICKLES = 8
"""``torch.save`` of old wrote five, one after another, before the bytes of the tensors."""
_MAX_BYTES = 64 << 20
# What torch builds weights from, and what the reader allows beside it; anything else is worth naming.
_USUAL = re.compile(
    r"collections\.OrderedDict|_codecs\.encode|argparse\.Namespace|numpy\.dtype|numpy\.dtypes\.\w+|numpy\._?core\.multiarray\.scalar|"
    r"torch\._utils\._rebuild_\w+|torch\._tensor\._rebuild\w*|torch\.storage\.\w*Storage|"
    r"torch\.(\w*Storage|Size|device|dtype|Tensor|b?float\w+|u?int\d+|bool|complex\w+|q?u?int\w+|nn\.parameter\.Parameter)"
)


def wanted(path: Path) -> str | None:
    """The first name in the pickle ``path`` (bare, or in a zip) that weights have no use for."""
    return next((name for name in names(path) if not _USUAL.fullmatch(name)), None)


def names(path: Path) -> list[str]:
    """``module.name`` of every global in the pickle ``path`` (bare, or in a zip), in order, as far as it is
    one. Those of Python 2, which a pickler still writes up to protocol 2, are those of today.
    """
    try:
        return _names(_content(path))
    except (OSError, ValueError, LookupError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return []


def _content(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    with zipfile.ZipFile(path) as archive:
        name = next((name for name in archive.namelist() if name.endswith("data.pkl")), "data.pkl")
        with archive.open(name) as member:
            return member.read(_MAX_BYTES)


def _names(content: bytes) -> list[str]:
    found: list[str] = []
    stream = io.BytesIO(content)
    for _ in range(_MAX_PICKLES):
        try:
            _collect(stream, found)
        # Whatever damaged bytes raise in there: what was found before them stands.
        except Exception:
            break
    return found


def _collect(stream: IO[bytes], found: list[str]) -> None:
    texts: list[str] = []
    old = True
    for opcode, argument, _ in islice(pickletools.genops(stream), MAX_OPCODES):
        if opcode.name == "PROTO":
            old = argument is not None and argument < 3
        elif opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            found.append(".".join(_of_today(module, name) if old else (module, name)))
        elif opcode.name == "STACK_GLOBAL":
            found.append(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)


def _of_today(module: str, name: str) -> tuple[str, str]:
    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name

"""What a shell offers for a half-typed word that a file knows: ``prune --complete KIND CURRENT WORD...``.

Asked at a key press, so neither torch nor Typer is imported, and whatever goes wrong offers nothing. What
shells insert as it stands must mean nothing to them: names with characters that could are left out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from prunecli.checkpoint.locating import INDEX, WEIGHTS

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
_LENGTH = 8
_MOST = 16 << 20
"""Bytes of a header or an index: a hundred thousand tensors. More is nothing to wait for at a key press."""
_WRAPPERS = ("module.", "_orig_mod.")
_DIMENSIONS = 2
"""Of the weight of a layer; a norm has one."""


def offered(kind: str, current: str, words: Iterable[str]) -> list[str]:
    """The names of ``kind`` that begin with ``current``; ``words`` are those of the command line."""
    try:
        names = _KINDS[kind](current, [_plain(word) for word in words])
    except Exception:  # a key press is no place for errors
        return []
    return [name for name in dict.fromkeys(names) if name.startswith(current) and _SAFE.fullmatch(name)]


def _plain(word: str) -> str:
    """``word`` as the command would get it, where the shell hands it over as it was typed."""
    try:
        return (shlex.split(word) or [""])[0]
    except ValueError:
        return word


def _networks(current: str, words: list[str]) -> Iterable[str]:
    from prunecli.networks.listing import FAMILIES, listed

    return listed() if ":" in current else [f"{family}:" for family in (*FAMILIES, "hf")]


def _jobs(current: str, words: list[str]) -> Iterable[str]:
    from prunecli.cli.config import ALL, COMMAND, NAME, TABLE, USUAL, parsed

    path = Path(_value_of("--config", words) or NAME).expanduser()
    tables = parsed(path)[TABLE] if _is_small(path) else {}
    own = [name for name, table in tables.items() if table.get(COMMAND, USUAL) in words]
    return [*own, ALL] if own else []


def _value_of(option: str, words: list[str]) -> str | None:
    for number, word in enumerate(words):
        if word == option and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return None


def _modules(current: str, words: list[str]) -> Iterable[str]:
    """Every module with a parameter or buffer of its own, and parameters that belong to none."""
    return (_owner(name) for name in _shapes(words))


def _layers(current: str, words: list[str]) -> Iterable[str]:
    """Those modules that have rows to remove: what ``--ignore`` and the like match."""
    shapes = _shapes(words)
    return (_owner(name) for name, shape in shapes.items() if shape is None or len(shape) >= _DIMENSIONS)


def _owner(name: str) -> str:
    return name.rpartition(".")[0] or name


def _shapes(words: list[str]) -> Mapping[str, list[int] | None]:
    """Of every tensor of the first checkpoint among ``words``; None where only the name is known."""
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            path = next((path / name for name in (WEIGHTS, INDEX) if (path / name).is_file()), path)
        if path.name.endswith((".safetensors", ".safetensors.index.json")) and path.is_file():
            return _unwrapped(_index(path) if path.suffix == ".json" else _header(path))
    return {}


def _header(path: Path) -> Mapping[str, list[int] | None]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if length > _MOST:
            return {}
        found: dict[str, Any] = json.loads(file.read(length))
    return {name: entry["shape"] for name, entry in found.items() if name != "__metadata__"}


def _index(path: Path) -> Mapping[str, list[int] | None]:
    return dict.fromkeys(json.loads(path.read_bytes())["weight_map"]) if _is_small(path) else {}


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= _MOST


def _unwrapped(shapes: Mapping[str, list[int] | None]) -> Mapping[str, list[int] | None]:
    """Without what a wrapper put before every name, as reading the file leaves it out."""
    for wrapper in _WRAPPERS:
        if shapes and all(name.startswith(wrapper) for name in shapes):
            return _unwrapped({name.removeprefix(wrapper): shape for name, shape in shapes.items()})
    return shapes


_KINDS: Mapping[str, Callable[[str, list[str]], Iterable[str]]] = {
    "networks": _networks,
    "jobs": _jobs,
    "layers": _layers,
    "modules": _modules,
}

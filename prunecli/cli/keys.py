"""What may be set in ``prune.toml`` for a command, and how a value becomes what the parser takes."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args, get_origin

from prunecli.errors import UsageError
from prunecli.gates import Gates

TYPED_ONLY = "unsafe_load"
"""It says that a file is trusted, which a file cannot say."""
_RENAMED = {"ckpt": "checkpoint"}
_AMOUNTS = {"N": '"5M"', "SIZE": '"20MB"', "MS": "12", "F": "0.92"}
_LIMITS = frozenset(item.name for item in fields(Gates))
# What of a file may become a value of the kind, in words, and as an example.
_KINDS: Mapping[type, tuple[tuple[type, ...], str, str]] = {
    bool: ((bool,), "true or false", "true"),
    int: ((int,), "a whole number", "8"),
    float: ((int, float), "a number", "0.5"),
    str: ((str,), "a text in quotes", '"..."'),
    Path: ((str,), "a path in quotes", '"..."'),
}


@dataclass(frozen=True)
class Key:
    """An option or an argument of a command. ``kind``: of the value, or of each where there are ``many``."""

    name: str
    parameter: str
    kind: type
    many: bool
    metavar: str
    help: str

    @property
    def takes_table(self) -> bool:
        """Whether the texts are NAME=VALUE."""
        return self.many and "=" in self.metavar

    @property
    def takes_numbers(self) -> bool:
        """Whether the text is a list itself, like 60,80."""
        return not self.many and self.metavar.startswith("A,B")

    @property
    def takes_amount(self) -> bool:
        """Whether the text is a number that may have a unit, like 5M or 92%."""
        return self.parameter in _LIMITS


def keys_of(command: Any) -> dict[str, Key]:
    """What may be set for a parsed ``command``, by key."""
    hints = inspect.signature(command.callback, eval_str=True).parameters
    found = (_key(each, hints[each.name].annotation) for each in command.params if each.name in hints)
    return {key.name: key for key in found if key.parameter != TYPED_ONLY}


def _key(parameter: Any, hint: Any) -> Key:
    option = parameter.param_type_name == "option"
    spelled = max(parameter.opts, key=len).lstrip("-") if option else parameter.name.replace("_", "-")
    kind = get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if type(None) in get_args(kind):
        kind = next(part for part in get_args(kind) if part is not type(None))
    many = get_origin(kind) is list
    return Key(
        _RENAMED.get(parameter.name, spelled), parameter.name, get_args(kind)[0] if many else kind, many,
        parameter.metavar or "", parameter.help or "",
    )  # fmt: skip


def value_of(key: Key, raw: Any, where: str, folder: Path) -> Any:
    """``raw``, found at ``where`` in a file of ``folder``, as the parser takes it. Raises ``UsageError``."""
    if not key.many:
        if key.takes_numbers and isinstance(raw, list) and raw and all(map(_is_plain, raw)):
            return ",".join(map(_text, raw))
        return _single(key, raw, where, folder)
    if key.takes_table and isinstance(raw, dict):
        pairs = [f"{name}={_of_pair(value, name, f'{where}: {key.name}')}" for name, value in raw.items()]
        return [_relocated(key.parameter, pair, folder) for pair in pairs]
    return [_single(key, item, where, folder) for item in (raw if isinstance(raw, list) else [raw])]


def _single(key: Key, raw: Any, where: str, folder: Path) -> Any:
    accepted, words, example = _KINDS[key.kind]
    if key.takes_amount:
        accepted, words, example = (str, int, float), "a number, or a text in quotes", _AMOUNTS[key.metavar]
    if not isinstance(raw, accepted) or (isinstance(raw, bool) and key.kind is not bool):
        example = f"[{example}]" if key.many else example
        more = ', or {"..." = ...}' if key.takes_table else ""
        raise UsageError(
            f"{where}: {key.name} = {shown(raw)} is not {words}", f"like {key.name} = {example}{more}"
        )
    if not isinstance(raw, str):
        return _plainly(raw) if key.takes_amount else raw
    return str(_inside(raw, folder)) if key.kind is Path else _relocated(key.parameter, raw, folder)


def _plainly(number: Any) -> str:
    """Without an exponent, and whole where it is."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    return f"{Decimal(repr(number)):f}"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _of_pair(value: Any, name: str, where: str) -> str:
    """The VALUE of NAME=VALUE."""
    if isinstance(value, list) and value and all(map(_is_plain, value)):
        return ",".join(map(_text, value))
    if not _is_plain(value):
        raise UsageError(
            f"{where}: '{name}' = {shown(value)} is not a number, a text, true or false",
            f'like "{name}" = 0.5',
        )
    return _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def shown(value: Any) -> str:
    """A value of the file, for a message."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _inside(text: str, folder: Path) -> Path:
    """A path as the file has it, from where prune runs."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:  # no home
        return folder / text


def _relocated(parameter: str, text: str, folder: Path) -> str:
    """``text``, and where it names a path, that path from where prune runs."""
    if parameter in ("data", "eval_data"):
        return _of_data(text, folder)
    if parameter in ("finetune_arg", "sparsify_arg"):
        name, equals, value = text.partition("=")
        return f"{name}{equals}{_of_file(value, folder)}" if name.strip() == "loss" else text
    if parameter == "arch" and text.startswith("hf:"):
        return f"hf:{_inside(text[3:], folder)}"
    return _of_file(text, folder) if parameter in ("arch", "loss") else text


def _of_file(text: str, folder: Path) -> str:
    """FILE.py:NAME."""
    file, _, name = text.rpartition(":")
    return f"{_inside(file, folder)}:{name}" if file.endswith(".py") else text


def _of_data(text: str, folder: Path) -> str:
    from prunecli.data.specs import FUNCTION, parse

    try:
        spec = parse(text)
    except UsageError:  # said with the option's own words, once it is looked at
        return text
    if not spec.place:
        return text
    place = str(_inside(spec.place, folder))
    if spec.kind == FUNCTION:
        return f"{place}:{spec.name}"
    return ":".join(part for part in (spec.kind, spec.name, place) if part)

"""A report read back from its JSON. Like every file it may come from anyone, so that each field is checked
against the type that it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from prunecli.errors import InputError, UsageError
from prunecli.report.model import Inspection, Report

MAX_BYTES = 1 << 28
_KINDS: dict[str, type[Report] | type[Inspection]] = {
    "prunecli.report/1": Report, "prunecli.inspect/1": Inspection,
}  # fmt: skip
_HINT = "a .json that prune run --report or prune inspect --json wrote"


def is_report(path: Path) -> bool:
    """By its name; the index of a sharded checkpoint is none."""
    return path.suffix == ".json" and not path.name.endswith(".index.json") and not path.is_dir()


def read_report(path: Path) -> Report | Inspection:
    """Raises ``UsageError`` where there is no such file, ``InputError`` for anything but a report of a run or
    an inspection.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is no report: it has {path.stat().st_size} bytes", _HINT)
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}", "check the path of the report") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is no report: it is not JSON", _HINT) from None
    schema = data.get("schema") if isinstance(data, dict) else None
    kind = _KINDS.get(schema) if isinstance(schema, str) else None
    if kind is None:
        said = f"its schema is {schema[:60]}" if isinstance(schema, str) else "it names no schema"
        raise InputError(f"{path} is no report of a run and no inspection: {said}", _HINT)
    try:
        found: Report | Inspection = _built(kind, data, "")
    except _WrongError as wrong:
        raise InputError(f"{path} is no report: {wrong}", _HINT) from None
    return found


class _WrongError(Exception):
    """Where, and what should be there."""


def _built(kind: Any, value: Any, where: str) -> Any:
    """``value`` as a ``kind``: a dataclass, a scalar, or what holds them."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _instance(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _require(value, value in arguments, where, " or ".join(map(str, arguments)))
    if origin in (Union, UnionType):
        return _any(arguments, value, where)
    if origin is tuple:
        _require(value, isinstance(value, list), where, "a list")
        return tuple(_built(arguments[0], each, f"{where}[{at}]") for at, each in enumerate(value))
    if origin is Mapping:
        _require(value, isinstance(value, dict), where, "an object")
        return {key: _built(arguments[1], each, f"{where}.{key:.40}") for key, each in value.items()}
    return _scalar(kind, value, where)


def _scalar(kind: type, value: Any, where: str) -> Any:
    if kind is float:
        # A measurement that was not finite is written as null.
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        _require(value, number, where, "a number")
        return float("nan") if value is None else value
    names = {str: "a text", int: "a whole number", bool: "true or false", NoneType: "null"}
    return _require(value, type(value) is kind, where, names[kind])


def _any(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    error = _WrongError(where)
    for kind in kinds:
        try:
            return _built(kind, value, where)
        except _WrongError as wrong:
            error = wrong
    raise error


def _instance(kind: type, value: Any, where: str) -> Any:
    """Fields that are not known are left out; those that an earlier version lacks take their default."""
    _require(value, isinstance(value, dict), where or "it", "an object")
    types = get_type_hints(kind)
    found = {}
    for item in fields(kind):
        place = f"{where}.{item.name}".lstrip(".")
        if item.name in value:
            found[item.name] = _built(types[item.name], value[item.name], place)
        elif not _has_default(item):
            raise _WrongError(f"'{place}' is missing")
    return kind(**found)


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _require(value: Any, fits: bool, where: str, wanted: str) -> Any:
    if not fits:
        raise _WrongError(f"'{where}' is not {wanted}")
    return value

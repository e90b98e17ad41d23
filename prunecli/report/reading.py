"""A report read back from its JSON. Like every file it may come from anyone, so that each field is checked
against the type that it has, and each number against what it could be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from sys import float_info
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from prunecli.errors import InputError, UsageError
from prunecli.report.model import Inspection, Report
from prunecli.report.timed import Spread
from prunecli.report.trained import Finetuning

MAX_BYTES = 1 << 28
_KINDS: dict[str, type[Report] | type[Inspection] | type[Finetuning]] = {
    "prunecli.report/1": Report, "prunecli.inspect/1": Inspection, "prunecli.finetune/1": Finetuning,
}  # fmt: skip
_HINT = "a .json that --report of prune run, finetune or sparsify, or prune inspect --json wrote"


_MOST = 2**63
_OF_A_SETTING = (-(2**64), 2**64)
"""A seed may have all 64 bits."""
_FINITE = (-float_info.max, float_info.max)
_TIMES = ("seconds", "timings", "steps")
_SHARES = ("top1", "top5", "agreement", "sparsity", "two_four")


def is_report(path: Path) -> bool:
    """By its name; the index of a sharded checkpoint is none."""
    return path.suffix == ".json" and not path.name.endswith(".index.json") and not path.is_dir()


def read_report(path: Path) -> Report | Inspection | Finetuning:
    """Raises ``UsageError`` where there is no such file, ``InputError`` for anything but a report of a run or
    of a training, or an inspection.
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
        raise InputError(f"{path} is no report of a run or a training and no inspection: {said}", _HINT)
    try:
        found: Report | Inspection | Finetuning = _built(kind, data, "")
    except _WrongError as wrong:
        raise InputError(f"{path} is no report: {wrong}", _HINT) from None
    return found


_Limits: TypeAlias = tuple[float, float] | None


class _WrongError(Exception):
    """Where, and what should be there."""


def _built(kind: Any, value: Any, where: str, limits: _Limits = None) -> Any:
    """``value`` as a ``kind``: a dataclass, a scalar, or what holds them. Numbers are within ``limits``."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _instance(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _require(value, value in arguments, where, " or ".join(map(str, arguments)))
    if origin in (Union, UnionType):
        return _any(arguments, value, where, limits)
    if origin is tuple:
        _require(value, isinstance(value, list), where, "a list")
        return tuple(_built(arguments[0], each, f"{where}[{at}]", limits) for at, each in enumerate(value))
    if origin is Mapping:
        _require(value, isinstance(value, dict), where, "an object")
        return {key: _built(arguments[1], each, f"{where}.{key:.40}", limits) for key, each in value.items()}
    return _scalar(kind, value, where, limits)


def _scalar(kind: type, value: Any, where: str, limits: _Limits) -> Any:
    if kind is float:
        # A measurement that was not finite is written as null.
        number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        _require(value, number, where, "a number")
        return float("nan") if value is None else _within(value, where, limits or _FINITE)
    names = {str: "a text", int: "a whole number", bool: "true or false", NoneType: "null"}
    _require(value, type(value) is kind, where, names[kind])
    return _within(value, where, limits or (0, _MOST)) if kind is int else value


def _within(value: float, where: str, limits: tuple[float, float]) -> float:
    """What is infinite or not a number is not within any."""
    least, most = limits
    wanted = "a finite number" if limits is _FINITE else f"between {least} and {most}"
    return _require(value, least <= value <= most, where, wanted)  # type: ignore[no-any-return]


def _any(kinds: tuple[Any, ...], value: Any, where: str, limits: _Limits) -> Any:
    if value is None and NoneType in kinds:
        return None
    if {str, float} <= {*kinds} and isinstance(value, int | float) and not isinstance(value, bool):
        return _within(value, where, _OF_A_SETTING)
    error = _WrongError(where)
    for kind in (kind for kind in kinds if kind is not NoneType):
        try:
            return _built(kind, value, where, limits)
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
            limits = _limits(kind, item.name)
            found[item.name] = _built(types[item.name], value[item.name], place, limits)
        elif not _has_default(item):
            raise _WrongError(f"'{place}' is missing")
    return kind(**found)


def _limits(kind: type, name: str) -> _Limits:
    """None where a number may be any that its type has: a loss, a score, a difference."""
    if kind is Spread or name in _TIMES:
        return 0, _MOST
    return (0, 1) if name in _SHARES else None


def _has_default(item: Field[Any]) -> bool:
    return item.default is not MISSING or item.default_factory is not MISSING


def _require(value: Any, fits: bool, where: str, wanted: str) -> Any:
    if not fits:
        raise _WrongError(f"'{where}' is not {wanted}")
    return value

"""Checkers for untrusted JSON. Each takes a value and where it stands, and returns it typed or raises."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from prunecli.errors import InputError

T = TypeVar("T")
Check = Callable[[object, str], T]

MAX_ENTRIES = 200_000
MAX_TEXT = 4096
MAX_INTEGER = 2**48
MAX_DIMS = 8
_SHA256 = re.compile("[0-9a-f]{64}")


def wrong(where: str, wanted: str, value: object) -> InputError:
    return InputError(
        f"not a recipe: {where[:120]} must be {wanted}, found {type(value).__name__}",
        "the file was written by something else, or changed since; prune the checkpoint again",
    )


def too_many(where: str, found: int, most: int) -> InputError:
    return InputError(
        f"not a recipe: {where[:120]} has {found} entries, more than {most}",
        "the file was written by something else, or changed since; prune the checkpoint again",
    )


def text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise wrong(where, "a short text", value)
    return value


def digest(value: object, where: str) -> str:
    """SHA-256 in hexadecimal."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise wrong(where, "a SHA-256", value)
    return value


def argument(value: object, where: str) -> str:
    """The name of a keyword argument that a caller could type."""
    if not isinstance(value, str) or not value.isidentifier() or value.startswith("__") or len(value) > 100:
        raise wrong(where, "named like arguments", value)
    return value


def integer(value: object, where: str) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise wrong(where, f"an integer in 0..{MAX_INTEGER}", value)
    return value


def scalar(value: object, where: str) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return text(value, where)


def option(value: object, where: str) -> Any:
    """A scalar, or a list of scalars."""
    return list(list_of(scalar)(value, where)) if isinstance(value, list) else scalar(value, where)


def shape(value: object, where: str) -> tuple[int, ...]:
    sizes = list_of(integer)(value, where)
    if len(sizes) > MAX_DIMS or math.prod(sizes) > MAX_INTEGER:
        raise InputError(f"not a recipe: {where[:120]} is no shape of a tensor: {list(sizes)[:MAX_DIMS]}")
    return sizes


def bounds(value: object, where: str) -> tuple[int, int] | None:
    """Smallest and largest value of an integer, or None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(item) is int for item in value):
        raise wrong(where, "a pair of integers", value)
    low, high = value
    if not -MAX_INTEGER <= low <= high <= MAX_INTEGER:
        raise InputError(f"not a recipe: {where[:120]} is no range: {low} to {high}")
    return low, high


def list_of(check: Check[T], most: int = MAX_ENTRIES) -> Check[tuple[T, ...]]:
    def checked(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise wrong(where, "a list", value)
        if len(value) > most:
            raise too_many(where, len(value), most)
        return tuple(check(item, f"{where}[{index}]") for index, item in enumerate(value))

    return checked


def mapping_of(check: Check[T], name: Check[str] = text, most: int = MAX_ENTRIES) -> Check[dict[str, T]]:
    def checked(value: object, where: str) -> dict[str, T]:
        if not isinstance(value, dict):
            raise wrong(where, "an object", value)
        if len(value) > most:
            raise too_many(where, len(value), most)
        return {name(key, f"a name in {where}"): check(item, f"{where}.{key}") for key, item in value.items()}

    return checked


class Fields:
    """An object with exactly the given keys, taken one by one."""

    def __init__(self, data: object, where: str, names: tuple[str, ...]) -> None:
        if not isinstance(data, dict):
            raise wrong(where, "an object", data)
        odd = sorted(str(key) for key in data.keys() ^ set(names))
        if odd:
            state = "unknown" if odd[0] in data else "missing"
            raise InputError(f"not a recipe: {state} field '{odd[0][:60]}' in {where}", "update prunecli")
        self._data, self._where = data, where

    def take(self, name: str, check: Check[T]) -> T:
        return check(self._data[name], f"{self._where}.{name}")

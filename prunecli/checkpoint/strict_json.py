"""JSON from files: without what parsers disagree about, and not deeper than any file has it."""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_BYTES = 16 << 20
"""Of one document. The header of a network with 100,000 tensors is smaller, and what a parser makes of so
many bytes is some 400 MB at worst.
"""


def parsed(document: str | bytes) -> Any:
    """The value of ``document``. Raises ``ValueError`` with the reason in a few words: not JSON, too large,
    too deep, a key twice in one object, NaN or an infinity.
    """
    if len(document) > MAX_BYTES:
        raise ValueError(f"it has {len(document)} bytes, more than {MAX_BYTES}")
    try:
        return json.loads(document, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key[:80]}' is there twice")
        found[key] = value
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")

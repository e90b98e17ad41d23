"""Settings of a training as text: ``lr=0.05``, ``milestones=60,80``. No torch, like ``settings.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from prunecli.errors import UsageError, unknown_name
from prunecli.training.settings import Settings

SAMPLES = "samples"
"""Not of the settings: how many samples of the data are trained on."""


def parse_settings(pairs: Sequence[str], option: str, *, numbers: bool = False) -> dict[str, Any]:
    """``["lr=0.1", "batch-size=64"]`` to ``{"lr": 0.1, "batch_size": 64}``; ``none`` where a setting may be
    left open. With ``numbers`` another name is a number of something else, under that name. Raises
    ``UsageError`` for text that is no NAME=VALUE, and for a name or value that cannot be.
    """
    kinds = {item.name: str(item.type) for item in fields(Settings)} | {SAMPLES: "int | None"}
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        key = name.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"{option} {pair} is not NAME=VALUE", f"like {option} lr=0.05")
        if key not in kinds and numbers:
            found[name.strip()] = _value(text.strip(), "float", f"{option} {pair}")
            continue
        if key not in kinds:
            raise unknown_name("setting", name, [known.replace("_", "-") for known in kinds])
        found[key] = _value(text.strip(), kinds[key], f"{option} {pair}")
    return found


def _value(text: str, kind: str, where: str) -> Any:
    if text.lower() == "none" and kind.endswith("| None"):
        return None
    name = kind.removesuffix(" | None")
    convert, words = _CONVERT[name]
    try:
        return convert(text)
    except ValueError:
        raise UsageError(
            f"{where}: '{text}' is not {words}", "prune finetune --help says what it is"
        ) from None


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_CONVERT: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (_flag, "true or false"),
    "str": (str, "a name"),
    "tuple[int, ...]": (lambda text: tuple(int(part) for part in text.split(",")), "epochs, like 60,80"),
}

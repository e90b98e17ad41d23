"""What a user types about a network: ``--arch-arg k=v`` and ``--input [name:[dtype:]]shape``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from prunecli.checkpoint.specs import DTYPES, InputSpec, Scalar
from prunecli.errors import UsageError, unknown_name

_PYTHON_SPELLINGS: Mapping[str, Scalar] = {"True": True, "False": False, "None": None}
_TORCH_SPELLINGS: Mapping[str, str] = {
    "double": "float64", "float": "float32", "half": "float16", "long": "int64", "int": "int32",
    "short": "int16",
}  # fmt: skip
# Arguments of registry networks that would make them fetch or open files.
_FETCHING = ("weights", "pretrained", "checkpoint", "cache_dir", "progress", "hf_")


def parse_arguments(pairs: Sequence[str]) -> dict[str, Scalar]:
    """``["num_classes=10", "act=relu"]`` to ``{"num_classes": 10, "act": "relu"}``: JSON scalars, else
    text.
    """
    arguments: dict[str, Scalar] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(
                f"--arch-arg '{pair}' is not name=value", "for example --arch-arg num_classes=10"
            )
        arguments[key] = _scalar(value)
    return arguments


def _scalar(text: str) -> Scalar:
    if text in _PYTHON_SPELLINGS:
        return _PYTHON_SPELLINGS[text]
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, str | int | float | bool) else text


def refuse_fetching(spec: str, arguments: Mapping[str, Scalar]) -> None:
    """Raises ``UsageError`` for arguments that would download or open weights: networks are built empty."""
    for name in arguments:
        if name.startswith(_FETCHING):
            raise UsageError(
                f"argument '{name}' of {spec} is not allowed: networks are built without weights",
                "the weights come from the checkpoint",
            )


def parse_input(text: str) -> InputSpec:
    """``3,224,224`` (batch 1 is added), ``ids:1,128`` or ``ids:int64:1,128`` (batch included); a dot in the
    name leads into a list or dict (``images.0:3,320,320``).
    """
    parts = text.split(":")
    if len(parts) == 1 and "=" in text:
        raise _not_an_input(text)
    shape = tuple(_size(part, text) for part in parts[-1].replace("x", ",").split(","))
    if len(parts) == 1:
        return InputSpec(None, "float32", (1, *shape))
    first, *inside = parts[0].split(".")
    if len(parts) > 3 or not first.isidentifier() or not all(map(_is_key, inside)):
        raise _not_an_input(text)
    dtype = parts[1] if len(parts) == 3 else "float32"
    dtype = _TORCH_SPELLINGS.get(dtype, dtype)
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    return InputSpec(parts[0], dtype, shape)


def _not_an_input(text: str) -> UsageError:
    return UsageError(
        f"--input '{text}' is not [name:[dtype:]]shape", "for example 3,224,224 or ids:int64:1,128"
    )


def _is_key(text: str) -> bool:
    return text.isidentifier() or text.isdecimal()


def _size(part: str, text: str) -> int:
    if not part.strip().isdecimal() or not 0 < int(part) < 2**31:
        raise UsageError(f"--input '{text}': '{part}' is not a size", "for example --input 3,224,224")
    return int(part)

"""The options of gates, and how their text becomes a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, TypeAlias

import typer

from prunecli.errors import UsageError
from prunecli.gates import Gates, option_of, unit_of

GATES = "Gates (one that is not met: exit 4, the report, and no output)"

MaxParams: TypeAlias = Annotated[
    str | None, typer.Option(metavar="N", rich_help_panel=GATES, help="Parameters at most, like 5M.")
]
MaxMacs: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="N", rich_help_panel=GATES, help="Multiply-adds of one forward at most, like 1.2G."),
]
MaxBytes: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        rich_help_panel=GATES,
        help="Bytes of all tensors at most, like 20MB (of 1000 x 1000) or 20MiB.",
    ),
]
MaxLatency: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="MS", rich_help_panel=GATES, help="Milliseconds of one forward at most (median)."),
]
MinAccuracy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="F", rich_help_panel=GATES, help="Top-1 at least, like 0.92 or 92%. Needs labelled data."
    ),
]
MaxDrop: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        rich_help_panel=GATES,
        help="Top-1 below the dense network's at most: one point is 0.01 or 1%. Needs labelled data.",
    ),
]
MinAgreement: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="F",
        rich_help_panel=GATES,
        help="Share of samples with the dense network's top-1 at least, like 0.95. Needs data.",
    ),
]

_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_NUMBER = r"\s*(\d+\.?\d*(?:e\d{1,2})?|\.\d+)\s*"


def gates(typed: Mapping[str, Any]) -> Gates:
    """What was ``typed``, by the names of the parameters. Raises ``UsageError``."""
    found = Gates(
        max_params=_count("max_params", typed), max_macs=_count("max_macs", typed),
        max_bytes=_bytes("max_bytes", typed), max_latency=_milliseconds("max_latency", typed),
        min_accuracy=_fraction("min_accuracy", typed), max_drop=_fraction("max_drop", typed),
        min_agreement=_fraction("min_agreement", typed),
    )  # fmt: skip
    found.check()
    return found


def _count(name: str, typed: Mapping[str, Any]) -> int | None:
    read = _read(name, typed, _NUMBER + r"([kmgt]?)", "a number", "like 5000000, 5M or 1.2G")
    return None if read is None else _whole(name, typed, Decimal(read[1]) * _DECIMAL[read[2]])


def _bytes(name: str, typed: Mapping[str, Any]) -> int | None:
    """With the units of the tables, and with those of 1024; without any, of bytes."""
    read = _read(name, typed, _NUMBER + r"(?:([kmgt])(i?))?b?", "a size", "like 20MB, 500kB or 20MiB")
    if read is None:
        return None
    if read[3]:
        # No byte is in what is left over of 1.3 KiB, and whoever types it does not mean it.
        return int(Decimal(read[1]) * 1024 ** (" kmgt".index(read[2])))
    return _whole(name, typed, Decimal(read[1]) * _DECIMAL[read[2] or ""])


def _whole(name: str, typed: Mapping[str, Any], number: Decimal) -> int:
    if number != int(number):
        kind = unit_of(name)
        raise UsageError(
            f"{option_of(name)} {typed[name]} is not a whole number of {kind}", "like 5000000, 5M or 1.2G"
        )
    return int(number)


def _milliseconds(name: str, typed: Mapping[str, Any]) -> float | None:
    read = _read(name, typed, _NUMBER + r"(?:ms)?", "a number of milliseconds", "like 5 or 2.5ms")
    return None if read is None else float(read[1])


def _fraction(name: str, typed: Mapping[str, Any]) -> float | None:
    like = "from 0, like 0.01 or 1%" if name == "max_drop" else "like 0.92 or 92%"
    read = _read(name, typed, _NUMBER + r"(%?)", "a fraction", like)
    return None if read is None else float(Decimal(read[1]) / (100 if read[2] else 1))


def _read(name: str, typed: Mapping[str, Any], pattern: str, what: str, like: str) -> re.Match[str] | None:
    text = typed.get(name)
    if text is None:
        return None
    found = re.fullmatch(pattern + r"\s*", text.lower())
    if found is None:
        raise UsageError(f"{option_of(name)} {text} is not {what}", like)
    return found

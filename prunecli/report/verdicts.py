"""Gates as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.gated import Gate, rows
from prunecli.report.tables import grid, safe

_STYLES = {"passed": "green", "FAILED": "bold red", "not judged": "bold yellow"}


def verdicts(gates: Iterable[Gate]) -> tuple[RenderableType, ...]:
    """One line per gate, after an empty one; nothing where none was set."""
    said = list(rows(gates))
    if not said:
        return ()
    table = grid("gate", ">limit", ">found", "")
    for name, limit, found, verdict in said:
        table.add_row(safe(name), limit, found, Text(verdict, style=_STYLES[verdict]))
    return Text(), table

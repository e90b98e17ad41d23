"""The zeros of a network's layers as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from prunecli.report.sparse import LayerSparsity
from prunecli.report.tables import grid, safe
from prunecli.report.text import count


def table(rows: Sequence[LayerSparsity]) -> RenderableType:
    """One line per layer, and one for all of them."""
    with_data = any(row.inactive is not None for row in rows)
    columns = ["layer", ">params", ">zeros", ">near zeros", ">channels", ">dead", ">equal"]
    drawn = grid(*columns, *([">inactive"] if with_data else []), ">2:4")
    for row in rows:
        inactive = ["-" if row.inactive is None else str(row.inactive)] if with_data else []
        drawn.add_row(
            safe(row.name or "(root)"), *_numbers(row), *inactive,
            "-" if row.two_four is None else f"{row.two_four:.1%}",
        )  # fmt: skip
    if len(rows) > 1:
        whole = LayerSparsity(
            "all layers with a weight",
            *(sum(getattr(row, name) for row in rows) for name in _SUMMED),
        )
        inactive = [str(sum(row.inactive or 0 for row in rows))] if with_data else []
        drawn.add_row(safe(whole.name), *_numbers(whole), *inactive, "")
    return drawn


_SUMMED = ("params", "zeros", "near_zeros", "channels", "dead", "duplicates")


def _numbers(row: LayerSparsity) -> list[str]:
    made = [str(number) if row.channels else "-" for number in (row.channels, row.dead, row.duplicates)]
    shares = [f"{number / max(1, row.params):.1%}" for number in (row.zeros, row.near_zeros)]
    return [count(row.params), *shares, *made]

"""Elements of the page. Text from a file passes through ``text``, and every figure carries the value that it
has in the JSON report: ``<data value="9408" data-at="/before/params">9.41 k</data>``, where ``data-at`` is
the JSON Pointer of it. In a table the pointer is put together: that of the table, the row's number, that of
the column. A cell whose text is not the value itself has the value in ``data-v``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import isfinite
from typing import Any, Literal

from prunecli.report.text import one_line, plural

NOTHING = "-"
LONG = 60
"""Tables with more rows are folded away until somebody opens them."""
SEARCHED = 8
"""Tables with fewer rows need no search."""
_AROUND = 4000
"""What a table has of markup besides its rows, and more."""


@dataclass(frozen=True)
class Column:
    """``at`` is where in the row its values are, and ``shown`` how they are written; ``of`` gives values that
    are not in the row, or other than what is there.

    ``kind``: ``name`` for the column that names the row, ``words``, ``number``, or ``drawn`` for HTML.
    ``over`` is a title above those of several columns. A number has a bar as long as its share of ``most``,
    of the ``ink`` of what was ``before`` or is ``after``.
    """

    title: str
    at: str = ""
    shown: Callable[[Any], str] = str
    kind: Literal["name", "words", "number", "drawn"] = "number"
    over: str = ""
    of: Callable[[Any], Any] | None = None
    most: float = 0.0
    ink: Literal["before", "after"] = "after"


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, or none where there is nothing to say."""

    anchor: str
    title: str
    body: tuple[str | Table, ...]

    @property
    def fixed(self) -> int:
        """The bytes of all that is not a table."""
        return sum(weight(part) for part in self.body if isinstance(part, str))

    def shown(self, room: int) -> str:
        """As HTML, with tables of about ``room`` bytes together at most."""
        parts = []
        for part in self.body:
            parts.append(part if isinstance(part, str) else part.shown(room))
            room -= 0 if isinstance(part, str) else weight(parts[-1])
        heading = f'<h2 id="{self.anchor}-title">{text(self.title)}</h2>'
        inner = "".join(parts)
        return f'<section id="{self.anchor}" aria-labelledby="{self.anchor}-title">{heading}{inner}</section>'


def text(value: object) -> str:
    """Text that is only text, also in a quoted attribute."""
    return escape(one_line(value), quote=True)


def number(value: float | None, shown: Callable[[Any], str], at: str) -> str:
    """A figure of the report at the JSON Pointer ``at``."""
    if not _is_known(value):
        return NOTHING
    return f'<data value="{value!r}" data-at="{text(at)}">{text(shown(value))}</data>'


def pointer(*steps: object) -> str:
    """The JSON Pointer (RFC 6901) of what is found by ``steps``."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


def value_at(row: Any, at: str) -> Any:
    """What a dataclass has at a pointer relative to it; None where something on the way is missing."""
    for step in at.split("/"):
        if row is None:
            return None
        if isinstance(row, tuple):
            row = row[int(step)] if int(step) < len(row) else None
        else:
            row = getattr(row, step)
    return row


def weight(markup: str) -> int:
    """In bytes."""
    return len(markup.encode())


def pairs(rows: Iterable[tuple[str, str]]) -> str:
    """Facts by name; the facts are HTML."""
    items = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f'<dl class="facts">{items}</dl>' if items else ""


@dataclass(frozen=True)
class Table:
    """``rows``, called ``name``: those at ``at``, in order. With a search where there are many, folded where
    there are very many.
    """

    name: str
    at: str
    columns: Sequence[Column]
    rows: Sequence[Any]

    def shown(self, room: int) -> str:
        """As HTML of about ``room`` bytes at most; it says how many rows it leaves out."""
        if not self.rows:
            return ""
        lines = [f"<tr>{''.join(_cell(column, row) for column in self.columns)}" for row in self.rows]
        fits, left = 0, room - _AROUND
        while fits < len(lines) and (left := left - weight(lines[fits])) >= 0:
            fits += 1
        title = text(plural(len(lines), self.name))
        if fits < len(lines):
            title += f" (the first {fits:,}; all are in the JSON report)"
        return self._drawn(title, lines[:fits]) if fits else f"<p>{title}</p>"

    def _drawn(self, title: str, lines: Sequence[str]) -> str:
        drawn = (
            f'<table class="rows" data-at="{text(self.at)}"><caption>{title}</caption>'
            f"<thead>{_head(self.columns)}</thead><tbody>{''.join(lines)}</tbody></table>"
        )
        region = f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">{drawn}</div>'
        if len(lines) < SEARCHED:
            return region
        search = '<p class="tools" hidden><label>Search <input type="search"></label> <output></output></p>'
        return folded(title, search + region, is_open=len(lines) <= LONG)


def folded(title: str, body: str, is_open: bool = False) -> str:
    """``body`` behind its ``title``, both HTML."""
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{body}</details>"


def small_table(
    name: str, titles: Sequence[str], rows: Iterable[Sequence[str]], figures: bool = False
) -> str:
    """A few rows of HTML; the first cell of each names it, the others may all be ``figures``."""
    head = "".join(f'<th scope="col">{text(title)}</th>' for title in titles)
    lines = (
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    said = text(name)
    return (
        f'<div class="scroll {"figures" if figures else "small"}" role="region" tabindex="0" '
        f'aria-label="{said}"><table><caption>{said}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def percent(share: float) -> int:
    """``share`` as a whole number between 0 and 100, as the classes of lengths have it in their names: the
    page forbids itself styles in attributes.
    """
    return round(100 * min(1.0, max(0.0, share)))


def share(value: float) -> str:
    """37.5%"""
    return f"{value:.1%}"


def _is_known(value: Any) -> bool:
    """What JSON has no number for is null there, and nothing here."""
    return value is not None and not (isinstance(value, float) and not isfinite(value))


def _head(columns: Sequence[Column]) -> str:
    indexed = list(enumerate(columns))
    if not any(column.over for column in columns):
        return f"<tr>{''.join(_title(index, column) for index, column in indexed)}</tr>"
    above, below = [], []
    for over, together in groupby(indexed, key=lambda pair: pair[1].over):
        found = list(together)
        if over:
            above.append(f'<th colspan="{len(found)}" scope="colgroup">{text(over)}</th>')
            below += [_title(index, column) for index, column in found]
        else:
            above += [_title(index, column, ' rowspan="2"') for index, column in found]
    return f"<tr>{''.join(above)}</tr><tr>{''.join(below)}</tr>"


def _title(index: int, column: Column, rows: str = "") -> str:
    kind = "" if column.kind == "number" else ' class="t"'
    at = f' data-at="{column.at}"' if column.at else ""
    return f'<th scope="col" data-col="{index}"{kind}{at}{rows}>{text(column.title)}</th>'


# Cells and rows have no end tags, as HTML allows: that is a tenth of a page with a thousand layers.
def _cell(column: Column, row: Any) -> str:
    value = column.of(row) if column.of else value_at(row, column.at)
    shown = column.shown(value) if _is_known(value) else NOTHING
    if column.kind == "number":
        return f"<td{_bar(column, value)}{_exactly(column, value, shown)}>{text(shown)}"
    if column.kind == "name":
        return f"<th scope=row>{text(shown)}"
    return f"<td class=t>{shown if column.kind == 'drawn' else text(shown)}"


def _bar(column: Column, value: Any) -> str:
    if not column.most or not _is_known(value) or not value:
        return ""
    return f" class={column.ink[0]}{percent(value / column.most)}"


def _exactly(column: Column, value: Any, shown: str) -> str:
    """What follows from figures that the page has anyway is as exact as it is shown."""
    if not isinstance(value, int | float) or not _is_known(value) or not column.at:
        return ""
    return "" if _reads_as(shown, value) else f" data-v={value!r}"


def _reads_as(shown: str, value: float) -> bool:
    """Whether what is shown is the value to the last digit, with commas or as a percentage."""
    digits = shown.replace(",", "")
    try:
        return float(digits[:-1]) / 100 == value if digits.endswith("%") else float(digits) == value
    except ValueError:
        return False

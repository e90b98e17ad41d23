"""A report's page as a browser would see it, for tests: its figures by JSON Pointer, its tables, its tags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "br", "input", "path", "circle"}
HAVE_NO_END = {"td", "tr", "tbody th"}


@dataclass
class Cell:
    text: str
    exact: str | None

    def equals(self, value: Any) -> bool:
        """Whether it says ``value``: exactly where that is a number, and in words where it is not."""
        if value is None:
            return self.text == "-" and self.exact is None
        if isinstance(value, list):
            return self.text == ("x".join(map(str, value)) or "-")
        if isinstance(value, str):
            return self.text == (value or "(root)")
        if self.exact is not None:
            return bool(json.loads(self.exact) == value)
        digits = self.text.replace(",", "")
        return bool((float(digits[:-1]) / 100 if digits.endswith("%") else float(digits)) == value)


@dataclass
class Grid:
    """A table of rows: where they are in the report, where each column is in them, and the cells."""

    at: str
    columns: dict[int, str] = field(default_factory=dict)
    rows: list[list[Cell]] = field(default_factory=list)
    caption: str = ""


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.figures: list[tuple[str, Any, str]] = []
        self.grids: list[Grid] = []
        self.texts: list[str] = []
        self.histograms: list[str] = []
        self.raw: dict[str, str] = {}
        self._open: list[str] = []
        self._cell: Cell | None = None
        self._in_grid = self._in_body = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.append((tag, found))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table" and "data-at" in found:
            self.grids.append(Grid(found["data-at"]))
            self._in_grid, self._in_body = True, False
        elif tag == "tbody":
            self._in_body = True
        elif tag == "svg" and found.get("class") == "hist":
            self.histograms.append(found["aria-label"])
        elif tag == "data":
            self.figures.append((found["data-at"], json.loads(found["value"]), ""))
        elif self._in_grid and tag == "th" and not self._in_body and "data-at" in found:
            self.grids[-1].columns[int(found["data-col"])] = found["data-at"]
        elif self._in_grid and self._in_body and tag == "tr":
            self.grids[-1].rows.append([])
        elif self._in_grid and self._in_body and tag in ("td", "th"):
            self._cell = Cell("", found.get("data-v"))
            self.grids[-1].rows[-1].append(self._cell)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            self._in_grid, self._cell = False, None

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside in ("style", "script"):
            self.raw[inside] = self.raw.get(inside, "") + data
            return
        self.texts.append(data)
        if inside == "caption" and self._in_grid:
            self.grids[-1].caption += data
        if self._cell is not None:
            self._cell.text += data
        if inside == "data":
            at, value, shown = self.figures[-1]
            self.figures[-1] = (at, value, shown + data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


def at(document: Any, pointer: str) -> Any:
    """What a JSON Pointer points to; None beside the end of a list or in nothing."""
    for step in pointer.split("/")[1:]:
        if document is None:
            return None
        if isinstance(document, list):
            document = document[int(step)] if int(step) < len(document) else None
        else:
            document = document[step.replace("~1", "/").replace("~0", "~")]
    return document


def numbers(document: Any, where: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a document, with its pointer."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from numbers(value, f"{where}/{str(name).replace('~', '~0').replace('/', '~1')}")
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from numbers(value, f"{where}/{index}")
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield where, document


def differences(page: Page, document: Any) -> list[str]:
    """Pointers at which page and document do not say the same."""
    found = [pointer for pointer, value, _ in page.figures if at(document, pointer) != value]
    for grid in page.grids:
        rows = at(document, grid.at)
        for index, (cells, row) in enumerate(zip(grid.rows, rows, strict=False)):
            for column, place in grid.columns.items():
                value = at(row, f"/{place}")
                names = isinstance(value, list) and any(isinstance(each, str) for each in value)
                if not names and not cells[column].equals(value):
                    found.append(f"{grid.at}/{index}/{place}")
    return found


def told(page: Page, document: Any) -> set[str]:
    """Pointers of the numbers that the page has."""
    found = {pointer for pointer, _, _ in page.figures}
    for grid in page.grids:
        for index in range(len(grid.rows)):
            for place in grid.columns.values():
                pointer = f"{grid.at}/{index}/{place}"
                value = at(document, pointer)
                inner = range(len(value)) if isinstance(value, list) else ()
                found |= {pointer, *(f"{pointer}/{each}" for each in inner)}
    return found

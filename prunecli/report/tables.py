"""Tables and headings as all renderers draw them. Everything from a file passes through ``one_line``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from prunecli.report.model import NetworkFacts
from prunecli.report.text import one_line, shortened

LONGEST = 2_000
"""Characters in a cell."""


class Folded:
    """Text that breaks between words; a word longer than the column breaks before its dots, or if it must
    before its underscores, so that the names of layers stay readable, and only then anywhere.
    """

    def __init__(self, text: str, style: str = "") -> None:
        self.text = text
        self.style = style

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text("\n".join(folded(self.text, options.max_width)), self.style)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        pieces = [piece for word in self.text.split(" ") for piece in _pieces(word)]
        least = max(map(len, pieces), default=0)
        return Measurement(least, max(least, len(self.text))).with_maximum(options.max_width)


def folded(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` characters."""
    lines = [""]
    for word in text.split(" "):
        if not lines[-1] or len(lines[-1]) + 1 + len(word) > width:
            *whole, last = _broken(word, width)
            lines += [*whole, last]
        else:
            lines[-1] += f" {word}"
    return lines[1:]


def _broken(word: str, width: int) -> Iterator[str]:
    line = ""
    for piece in _pieces(word):
        for part in [piece] if len(piece) <= width else re.findall(r"_?[^_]+|_", piece):
            if line and len(line) + len(part) > width:
                yield line
                line = ""
            while len(part) > width:
                yield part[:width]
                part = part[width:]
            line += part
    yield line


def _pieces(word: str) -> list[str]:
    """A dotted name cut before every dot and colon, so that what follows shows what it is."""
    return re.findall(r"[.:]?[^.:]+|[.:]", word) or [""]


def heading(title: str, network: NetworkFacts) -> RenderableType:
    """What the document is about, and the network."""
    line = Text(one_line(title), style="bold")
    return line.append(f"   {one_line(network.spec)}", style="not bold dim") if network.spec else line


def grid(*headings: str) -> Table:
    """A table without lines; a heading that starts with '>' is a column of numbers."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for text in map(one_line, headings):
        numbers = text.startswith(">")
        drawn.add_column(
            text.lstrip(">"), justify="right" if numbers else "left", no_wrap=numbers, overflow="fold"
        )
    return drawn


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Facts by name, one per line."""
    drawn = Table(box=None, show_header=False, pad_edge=False, padding=(0, 1))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        drawn.add_row(name, safe(value))
    return drawn


def safe(value: str) -> RenderableType:
    """A cell of text, cut where no name or reason of ours would still go on; JSON has all of it."""
    return Folded(shortened(one_line(value), LONGEST))

"""Every document with every text in it replaced, through every renderer."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from prunecli.cli import output
from prunecli.report import html, markdown, spreadsheet, terminal
from prunecli.report.beside import difference as beside

from .names import (
    Printed,
    Terminal,
    addresses,
    at_terminal,
    csv_cells,
    html_structure,
    markdown_structure,
)


def renamed(value: Any, kind: Any, name: str) -> Any:
    """``value`` with ``name`` before every text that is not one of a few words; keys stay."""
    if get_origin(kind) is Literal:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        changed = {
            item.name: renamed(getattr(value, item.name), hints[item.name], name)
            for item in fields(value)
            if item.init and item.name not in ("schema", "version")
        }
        return replace(value, **changed)
    if isinstance(value, str):
        literal = any(get_origin(each) is Literal for each in get_args(kind))
        return value if literal else name + value
    inner = get_args(kind)
    if isinstance(value, tuple):
        return tuple(renamed(each, inner[0] if inner else Any, name) for each in value)
    if isinstance(value, Mapping):
        return {key: renamed(each, inner[1] if inner else Any, name) for key, each in value.items()}
    return value


@dataclass(frozen=True)
class Renderer:
    """``drawn(document)`` as text; ``structure`` is what is not to depend on names."""

    ending: str
    drawn: Callable[[Any], str]
    structure: Callable[[str], Any]


def renderers(document: Any) -> Iterator[Renderer]:
    """All that draw documents of its kind."""
    kind = type(document).__name__
    for room, ending, structure in (
        (markdown, "Markdown", markdown_structure), (html, "HTML", html_structure),
    ):  # fmt: skip
        names = {"Report": "result", "Inspection": "inspection", "Evaluation": "evaluation",
                 "Finetuning": "finetuning", "Difference": "difference"}  # fmt: skip
        if kind in names:
            yield Renderer(ending, getattr(room, names[kind]), structure)
    tables = {"Report": spreadsheet.layers, "Inspection": spreadsheet.layers,
              "Evaluation": spreadsheet.networks, "Finetuning": spreadsheet.epochs,
              "Difference": spreadsheet.differences}  # fmt: skip
    if kind in tables:
        yield Renderer("CSV", tables[kind], lambda text: [len(row) for row in csv_cells(text)])


def _shown(document: Any) -> tuple[Any, ...]:
    kind = type(document).__name__
    if kind == "Inspection":
        return tuple(terminal.inspection(document, True, True))
    if kind == "Difference":
        return tuple(beside(document))
    draw = {"Report": terminal.result, "Verification": terminal.verification}
    return tuple(draw[kind](document)) if kind in draw else ()


def problems(document: Any, name: str, harmless: str) -> Iterator[str]:
    """What of ``name`` gets through, anywhere in ``document``."""
    hostile, other = (renamed(document, type(document), each) for each in (name, harmless))
    kind = type(document).__name__
    for renderer in renderers(document):
        text, twin = renderer.drawn(hostile), renderer.drawn(other)
        made, wanted = renderer.structure(text), renderer.structure(twin)
        # Where names are long, tables end sooner.
        if made != wanted and (len(name) < 5_000 or {*map(str, made)} - {*map(str, wanted)}):
            pairs = zip(made, wanted, strict=False)
            what = next((pair for pair in pairs if pair[0] != pair[1]), "another length")
            yield f"{kind} as {renderer.ending}: another structure: {what!r:.200}"
        odd = {c for c in text if not c.isprintable() and c not in "\n\t"}
        if odd:
            yield f"{kind} as {renderer.ending}: {sorted(odd)!r:.80}"
        if renderer.ending == "Markdown" and addresses(text):
            yield f"{kind} as Markdown: a link to {addresses(text)[0]:.60}"
        if renderer.ending == "CSV":
            cells = [cell for row in csv_cells(text) for cell in row]
            formulas = [cell for cell in cells if cell[:1] in ("=", "@", "\t", "\r") or _formula(cell)]
            if formulas:
                yield f"{kind} as CSV: a formula: {formulas[0]:.60}"
    for stream in (Terminal(), io.StringIO()):
        with redirect_stdout(stream):
            output.show(*_shown(hostile))
        for problem in at_terminal(Printed(0, stream.getvalue(), "", stream.isatty()), name):
            yield f"{kind} at a terminal: {problem}"


def _formula(cell: str) -> bool:
    if cell[:1] not in ("+", "-"):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False

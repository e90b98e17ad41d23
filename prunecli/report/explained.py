"""An explanation as tables for a terminal."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.model import ExplainedGroup, Explanation, SliceRow, TieRow, UseRow
from prunecli.report.tables import grid, heading, pairs, safe
from prunecli.report.text import one_line, plural

# What is beyond is in the JSON document.
MOST_GROUPS = 12
MOST_ROWS = 24
MOST_FACTS = 8

_EFFECTS = {
    "makes": "makes its units",
    "takes": "takes them in",
    "joins": "joins axes of them",
    "passes": "passes them on",
}


def explanation(found: Explanation) -> tuple[RenderableType, ...]:
    """The dimensions that the name stands for, then every group in them."""
    source = found.checkpoint.name if found.checkpoint else "module"
    parts: list[RenderableType] = [heading(f"{source}: {found.name}", found.network)]
    if found.slices:
        parts += [Text(), _slices("dimension", found.slices)]
    for group in found.groups[:MOST_GROUPS]:
        parts += [Text(), *_group(group)]
    left = found.groups[MOST_GROUPS:]
    if left:
        names = ", ".join(group.row.name for group in left[:3]) + (", ..." if len(left) > 3 else "")
        parts += [Text(), safe(f"and {plural(len(left), 'more group')}: {names} (all of them with --json)")]
    return tuple(parts)


def _group(group: ExplainedGroup) -> Iterator[RenderableType]:
    yield Text(f"group {one_line(group.row.name)}", style="bold")
    yield pairs(_facts(group))
    yield Text()
    yield _slices("goes together", group.slices)
    if group.uses:
        yield Text()
        yield _uses(group.uses)


def _facts(group: ExplainedGroup) -> Iterator[tuple[str, str]]:
    row = group.row
    steps = f", {plural(group.widths, 'possible size')}" if 1 < group.widths < row.dense else ""
    yield "units", f"{row.dense} ({row.kind}){steps}"
    yield "prunable", "yes" if row.status == "prunable" else f"no: {row.reason}"
    if row.value_changing is not None:
        yield "values", f"others change when a unit goes: {row.value_changing}"
    if group.ties:
        yield "tied", f"{_tied(group.ties)}; {group.tied_by}" if group.tied_by else _tied(group.ties)
    elif group.tied_by:
        yield "steps", group.tied_by
    yield from _some("must hold", group.guards)
    yield from _some("follows", group.patches)


def _tied(ties: Sequence[TieRow]) -> str:
    """Groups that go in the same proportion together, the commonest proportion first."""
    kinds: dict[tuple[int | None, int | None], list[str]] = {}
    for tie in ties:
        kinds.setdefault((tie.stride, tie.other), []).append(tie.group)
    words = []
    for (own, other), names in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        if own is None:
            words.append(f"to the sizes of {', '.join(names[:3])}{more}, by more than a proportion")
            continue
        go = "go" if own > 1 else "goes"
        words.append(f"{own} of its units {go} with {other} of {', '.join(names[:3])}{more}")
    return "; ".join(words)


def _some(label: str, values: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, value in enumerate(values[:MOST_FACTS]):
        yield "" if index else label, value
    if len(values) > MOST_FACTS:
        yield "", f"and {len(values) - MOST_FACTS} more"


def _slices(title: str, rows: Sequence[SliceRow]) -> RenderableType:
    table = grid(title, ">dim", ">size", "its indices")
    for row in rows[:MOST_ROWS]:
        table.add_row(safe(row.tensor), str(row.dim), str(row.size), safe(_indices(row)))
    if len(rows) > MOST_ROWS:
        table.add_row(safe(f"and {len(rows) - MOST_ROWS} more"))
    return table


def _indices(row: SliceRow) -> str:
    if row.role:
        units = f"[{row.role}: {row.axis}]"
        return f"{units}, the rest stays: {row.reason}" if row.reason else units
    return f"all stay: {row.reason}" if row.reason else "all stay"


def _uses(uses: Iterable[UseRow]) -> RenderableType:
    """Neighbours with the same effect in the same module share a line."""
    table = grid("in module", "operators", "what they do")
    runs = [(key, list(run)) for key, run in groupby(uses, key=lambda use: (use.where, use.effect))]
    for (where, effect), run in runs[:MOST_ROWS]:
        times: Counter[str] = Counter()
        for use in run:
            times[operator_in_words(use.operator)] += use.times
        operators = ", ".join(name if number == 1 else f"{name} x{number}" for name, number in times.items())
        table.add_row(safe(where), safe(operators), _EFFECTS.get(effect, effect))
    if len(runs) > MOST_ROWS:
        table.add_row(safe(f"and {len(runs) - MOST_ROWS} more"))
    return table


def operator_in_words(name: str) -> str:
    """``aten._native_batch_norm_legit_no_training`` is ``batch_norm`` to everybody else."""
    plain = name.removeprefix("aten.").strip("_")
    plain = re.sub(r"^(native_|unsafe_|safe_)", "", plain)
    return re.sub(r"(_legit|_no_training|_with_indices|_default)+$", "", plain) or name

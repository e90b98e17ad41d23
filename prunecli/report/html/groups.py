"""Group by group: what was removed and why not more, the scores it was chosen by, and what cannot be cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase

from prunecli.report import mended
from prunecli.report.figures import RepairFacts, ScoreHistogram
from prunecli.report.html.charts import histogram, tiles
from prunecli.report.html.markup import (
    Column,
    Section,
    Table,
    number,
    pairs,
    percent,
    pointer,
    share,
    small_table,
    text,
)
from prunecli.report.model import GroupRow, PinnedRow
from prunecli.report.text import gist, plural

NAMED = 4
"""Of the layers that a group reaches so many are named; all are in the JSON report."""


def groups(rows: Sequence[GroupRow]) -> Section | None:
    """All of them on a map, the reasons of those left whole, and each in a row."""
    if not rows:
        return None
    whole, cut = Counter(_why(row) for row in rows if row.status == "whole"), _is_cut(rows)
    letters = {why: _letter(index) for index, (why, _) in enumerate(whole.most_common())}
    filled = "as far as its units are kept" if cut else "where it can be pruned"
    said = f'One tile per group, in order; <span class="key after">filled</span> {filled}'
    said += "; a letter says why it is left whole" if whole else ""
    said += "; a line under it, that it changes values" if any(row.value_changing for row in rows) else ""
    picture = f"<figure>{tiles(_tiles(rows, letters))}<figcaption>{said}.</figcaption></figure>"
    return Section(
        "groups",
        "Groups",
        (picture, _reasons(whole, letters), Table("group", "/groups", _columns(rows), rows)),
    )


def _is_cut(rows: Sequence[GroupRow]) -> bool:
    """Not so in an inspection, which says what could be."""
    return not any(row.status == "prunable" for row in rows)


def _tiles(rows: Sequence[GroupRow], letters: Mapping[str, str]) -> Iterator[tuple[str, int, str, str]]:
    for row in rows:
        kind = row.status + (" changes" if row.value_changing else "")
        letter = letters[_why(row)] if row.status == "whole" else ""
        yield kind, percent(row.kept / row.dense), letter, f"{row.name}: {row.kept} of {row.dense}"


def _reasons(whole: Counter[str], letters: Mapping[str, str]) -> str:
    if not whole:
        return ""
    rows = [(f"<b>{letters[why]}</b>", f"{number:,}", text(why)) for why, number in whole.most_common()]
    return small_table("groups left whole", ("", "groups", "left whole because"), rows)


def _why(row: GroupRow) -> str:
    return gist(row.reason or "no reason recorded")


def _letter(index: int) -> str:
    return ascii_lowercase[index] if index < len(ascii_lowercase) else "+"


def _layers(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    first = ", ".join(name or "(root)" for name in names[:NAMED])
    return first + (f" and {plural(more, 'more layer')}" if more > 0 else "")


def _columns(rows: Sequence[GroupRow]) -> list[Column]:
    why = [("reason", "reason"), ("value-changing", "value_changing")]
    units = [
        Column("dense", "dense", "{:,}".format, over="units"),
        Column("kept", "kept", "{:,}".format, over="units"),
        Column("removed", of=lambda row: 1 - row.kept / row.dense, shown=share, over="units", most=1.0),
    ]
    return [
        Column("group", "name", kind="name"),
        Column("kind", "kind", kind="words"),
        *(units if _is_cut(rows) else [Column("units", "dense", "{:,}".format)]),
        Column("status", "status", kind="words"),
        *(Column(words, key, kind="words") for words, key in why if any(getattr(row, key) for row in rows)),
        Column("reaches", "layers", _layers, kind="words"),
    ]


def scores(rows: Sequence[ScoreHistogram]) -> Section | None:
    """The numbers that units were chosen by."""
    columns = [
        Column("group", "group", kind="name"),
        Column("units", of=lambda row: sum(row.counts), shown="{:,}".format),
        Column("removed", of=lambda row: sum(row.removed), shown="{:,}".format),
        Column("lowest", "low", _score),
        Column("from low to high", of=lambda row: histogram(row.counts, row.removed), kind="drawn"),
        Column("highest", "high", _score),
    ]
    if not rows:
        return None
    said = (
        "<p>The scores of the units of each group when they were last chosen among, in equal parts "
        'from the lowest to the highest: <span class="key after">kept</span> '
        '<span class="key gone">removed</span>.</p>'
    )
    return Section("scores", "Scores", (said, Table("scored group", "/scores", columns, rows)))


def _score(value: float) -> str:
    return f"{value:.3g}"


def pinned(rows: Sequence[PinnedRow]) -> Section | None:
    """Dimensions of parameters that stay, and why."""
    if not rows:
        return None
    reasons = Counter(row.reason for row in rows)
    by_reason = [(f"{number:,}", text(reason)) for reason, number in reasons.most_common()]
    columns = [
        Column("parameter", "parameter", kind="name"),
        Column("dimension", "dim"),
        Column("because", "reason", kind="words"),
    ]
    each = Table("pinned dimension", "/pinned", columns, rows)
    body = (small_table("reasons", ("dimensions", "because"), by_reason), each)
    return Section("pinned", "What cannot be cut", body)


def repair(found: RepairFacts | None) -> Section | None:
    """What was written, out of what was tried, and each operation."""
    if found is None:
        return None
    facts = [("repair", text(mended.repair(found)))]
    facts.append(
        (
            "inputs",
            f"{text(found.data.origin)}, {number(found.data.samples, '{:,}'.format, '/repair/data/samples')}",
        )
    )
    errors = [
        (
            text(name),
            number(value, _score, pointer("repair", "errors", name)),
            "written" if name == found.applied else "",
        )
        for name, value in found.errors.items()
    ]
    tried = small_table("candidates", ("candidate", "output error", ""), errors) if errors else ""
    columns = [
        Column("operation", "weight", kind="name"),
        Column("method", of=lambda row: row.method or "left as cut", kind="words"),
        Column("as cut", "before", _score, over="error"),
        Column("repaired", "after", _score, over="error"),
        Column("ridge", "ridge", _score),
        Column("because", "reason", kind="words"),
    ]
    body = (pairs(facts), tried, Table("operation", "/repair/operations", columns, found.operations))
    return Section("repair", "Repair", body)

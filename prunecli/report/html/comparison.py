"""Two checkpoints or reports side by side, as a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prunecli.report import beside
from prunecli.report.differences import Difference, Side
from prunecli.report.html import course, figures
from prunecli.report.html.markup import Column, Section, Table, number, pairs, pointer, small_table, text
from prunecli.report.html.page import page
from prunecli.report.text import count, milliseconds, shape, size, times

_SIDES = (("first", "a"), ("second", "b"))
_TENSORS = {
    "equal": "equal", "changed": "changed", "resized": "in another shape", "only_a": "only in the first",
    "only_b": "only in the second",
}  # fmt: skip


def difference(found: Difference) -> str:
    """What they are to each other, both sizes, then what differs."""
    networks, keys = beside.columns(found), dict(_SIDES)
    places = {name: pointer(keys[name], "quality") for name in networks}
    sections = [
        figures.gates(found.gates),
        Section("sizes", "Sizes", (_sizes(found), _facts(found))),
        course.quality(networks, places, (), ""),
        _listed("options", "Settings that differ", Table("setting", "/options", _options(), found.options)),
        _listed("groups", "Groups", Table("group", "/groups", _groups(), found.groups)),
        _listed("layers", "Layers", Table("layer", "/layers", _layers(found), found.layers)),
        figures.notes(found.notes),
        Section("about", "What was compared", (figures.typed(found.command), _about(found))),
    ]
    head = f'<p class="verdict"><b>{text(found.verdict)}</b></p>{figures.verdict(None, (), found.gates)}'
    title = f"{found.a.name} and {found.b.name}"
    return page(title, found.a.network.spec, head, [each for each in sections if each is not None])


def _listed(anchor: str, title: str, table: Table) -> Section | None:
    return Section(anchor, title, (table,)) if table.rows else None


def _sizes(found: Difference) -> str:
    named: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
        ("MACs", "macs", count), ("parameters", "params", count), ("bytes of weights", "bytes", size),
    )  # fmt: skip
    rows = []
    for name, key, shown in named:
        one, other = getattr(found.a.totals, key), getattr(found.b.totals, key)
        cells = [number(value, shown, f"/{side}/totals/{key}") for value, side in ((one, "a"), (other, "b"))]
        if one is None or other is None or (key == "macs" and not found.same_inputs):
            rows.append((name, *cells, "-", "-"))
        else:
            rows.append((name, *cells, times(one, other), f"{other - one:+,}"))
    titles = ("", found.a.name, found.b.name, "smaller", "difference")
    return small_table("sizes", titles, [*rows, *_latency(found)], figures=True)


def _latency(found: Difference) -> list[tuple[str, ...]]:
    one, other = found.a.latency, found.b.latency
    if one is None and other is None:
        return []
    cells = [number(value, milliseconds, f"/{side}/latency") for value, side in ((one, "a"), (other, "b"))]
    if one is None or other is None:
        return [("latency", *cells, "-", "-")]
    return [("latency", *cells, times(one, other), f"{other - one:+.3g} ms")]


def _facts(found: Difference) -> str:
    rows = []
    for words, key in _SIDES:
        side: Side = getattr(found, key)
        if side.before is not None or side.dense is not None:
            rows.append((f"{words} began with", _before(side, key)))
        if side.changed_by:
            rows.append((f"{words} changed by", text(", ".join(side.changed_by))))
    if found.tensors is not None:
        counts = (
            f"{number(getattr(found.tensors, key), '{:,}'.format, f'/tensors/{key}')} {words}"
            for key, words in _TENSORS.items()
        )
        rows.append(("tensors", ", ".join(counts)))
    if found.data is not None:
        rows.append(("data", course.data(found.data, "/data")))
    return pairs(rows)


def _before(side: Side, key: str) -> str:
    """What a run began with; the figures of its own page are not told again."""
    shown: tuple[tuple[str, Callable[[Any], str], str], ...] = (
        ("macs", count, " MACs"), ("params", count, " parameters"), ("bytes", size, " of weights"),
    )  # fmt: skip
    said = [
        number(getattr(side.before, name), words, f"/{key}/before/{name}") + unit
        for name, words, unit in shown
        if side.before is not None
    ]
    if side.dense is not None and side.dense.top1 is not None:
        said.append(f"top-1 {number(side.dense.top1, '{:.2%}'.format, f'/{key}/dense/top1')}")
    if side.latency_before is not None:
        said.append(number(side.latency_before, milliseconds, f"/{key}/latency_before"))
    return ", ".join(said)


def _options() -> list[Column]:
    return [
        Column("setting", "name", kind="name"),
        Column("first", of=lambda row: beside.option(row)[1], kind="words"),
        Column("second", of=lambda row: beside.option(row)[2], kind="words"),
    ]


def _groups() -> list[Column]:
    sizes: Sequence[tuple[str, str]] = (("dense", "dense"), *_SIDES, ("the same units", "shared"))
    return [
        Column("group", "name", kind="name"),
        *(Column(words, key, "{:,}".format) for words, key in sizes),
    ]


def _layers(found: Difference) -> list[Column]:
    params = max((row.params_a or 0 for row in found.layers), default=0)
    macs = max((row.macs_a or 0 for row in found.layers), default=0)
    return [
        Column("layer", "name", lambda name: name or "(root)", "name"),
        Column("type", "type", kind="words"),
        *(Column(words, f"shape_{key}", shape, over="shape") for words, key in _SIDES),
        Column("first", "params_a", count, over="parameters", most=params, ink="before"),
        Column("second", "params_b", count, over="parameters", most=params),
        Column("first", "macs_a", count, over="MACs", most=macs, ink="before"),
        Column("second", "macs_b", count, over="MACs", most=macs),
        Column("change of weights", "change", "{:.3g}".format),
    ]


def _about(found: Difference) -> str:
    rows = [("prunecli", text(found.version)), ("relation", text(found.relation))]
    for words, key in _SIDES:
        side: Side = getattr(found, key)
        digest = f'<br><code class="digest">sha256 {text(side.digest)}</code>' if side.digest else ""
        network = text(side.network.spec or "a module")
        rows.append((words, f"{text(side.name)}, {text(side.kind)}, {network}{digest}"))
    counters = dict.fromkeys(side.counter for side in (found.a, found.b) if side.counter)
    rows.append(("MACs counted by", text(" and ".join(counters) or "-")))
    return pairs([*rows, *([("time", figures.spent(found.timings))] if found.timings else [])])

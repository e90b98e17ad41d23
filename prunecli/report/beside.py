"""A difference as tables for a terminal, and its rows in words for other renderers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from prunecli.report.differences import Difference, GroupDifference, LayerDifference, OptionDifference, Side
from prunecli.report.evaluated import quality
from prunecli.report.figures import Quality
from prunecli.report.tables import grid, pairs, safe
from prunecli.report.text import count, one_line, plural, shape, size, times
from prunecli.report.verdicts import verdicts

MOST_ROWS = 40

LAYERS = ("layer", "type", "shape", "then", "parameters", "then", "MACs", "then", "weights")
GROUPS = ("group", "dense", "first", "second", "the same units")
OPTIONS = ("setting", "first", "second")


def difference(found: Difference) -> tuple[RenderableType, ...]:
    """The verdict, both sizes, figures and gates; then what differs in groups, settings and layers."""
    layers = [row for row in found.layers if row.differs]
    return (
        Text(one_line(found.verdict), style="bold"),
        Text(),
        _grid(("", f">{found.a.name}", f">{found.b.name}", ">smaller", ">change"), sizes(found)),
        *((Text(), pairs(facts(found))) if facts(found) else ()),
        *((Text(), quality(columns(found))) if columns(found) else ()),
        *verdicts(found.gates),
        *_listed(("setting", "first", "second"), map(option, found.options)),
        *_listed(("group", ">dense", ">first", ">second", ">the same"), map(group, found.groups)),
        *_listed(
            ("layer", "type", ">shape", ">then", ">params", ">then", ">MACs", ">then", ">weights"),
            [layer(row, count) for row in layers],
        ),
    )


def sizes(found: Difference, exact: bool = False) -> Iterator[tuple[str, ...]]:
    """A row per size: of the first, of the second, and what lies between them."""
    one, other = found.a.totals, found.b.totals
    for name, key in (("MACs", "macs"), ("parameters", "params"), ("bytes of weights", "bytes")):
        first, second = getattr(one, key), getattr(other, key)
        shown = "{:,}".format if exact else (size if key == "bytes" else count)
        if first is None or second is None or (key == "macs" and not found.same_inputs):
            yield name, *("-" if value is None else shown(value) for value in (first, second)), "-", "-"
        else:
            yield name, shown(first), shown(second), times(first, second), _change(first, second)
    fast, faster = found.a.latency, found.b.latency
    if fast is not None and faster is not None:
        between = (times(fast, faster), _change(fast, faster))
        yield "latency (median)", _milliseconds(fast), _milliseconds(faster), *between
    elif fast is not None or faster is not None:
        yield "latency (median)", _milliseconds(fast), _milliseconds(faster), "-", "-"


def _change(before: float, after: float) -> str:
    if before == after:
        return "none"
    return f"{after / before - 1:+.2%}" if before else "-"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} ms"


def facts(found: Difference) -> list[tuple[str, str]]:
    """What is known of each, what was compared and on which data."""
    said = [(f"{which} began with", words) for which, side in _sides(found) for words in _before(side)]
    for which, side in _sides(found):
        if side.changed_by:
            said.append((f"{which} changed by", ", ".join(side.changed_by)))
    if found.tensors is not None:
        said.append(("tensors", _tensors(found)))
    if found.data is not None:
        labels = "" if found.data.labelled else ", without labels"
        said.append(("data", f"{found.data.origin}, {plural(found.data.samples, 'sample')}{labels}"))
    counters = {found.a.counter, found.b.counter} - {""}
    if len(counters) > 1:
        said.append(("MACs counted by", f"{found.a.counter} and {found.b.counter}"))
    return said


def _sides(found: Difference) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("first", found.a), ("second", found.b)


def _before(side: Side) -> Iterator[str]:
    """What a run began with."""
    parts = []
    if side.before is not None and side.before.macs is not None and side.before.params is not None:
        parts += [f"{count(side.before.macs)} MACs", f"{count(side.before.params)} parameters"]
    if side.dense is not None and side.dense.top1 is not None:
        parts.append(f"top-1 {side.dense.top1:.2%}")
    if side.latency_before is not None:
        parts.append(_milliseconds(side.latency_before))
    if parts:
        yield ", ".join(parts)


def _tensors(found: Difference) -> str:
    there = found.tensors
    assert there is not None
    parts = (
        (there.equal, "equal"), (there.changed, "changed"), (there.resized, "in another shape"),
        (there.only_a, "only in the first"), (there.only_b, "only in the second"),
    )  # fmt: skip
    return ", ".join(f"{number} {words}" for number, words in parts if number) or "none"


def columns(found: Difference) -> dict[str, Quality]:
    """The quality of those that have one."""
    there = {"first": found.a.quality, "second": found.b.quality}
    return {name: each for name, each in there.items() if each is not None}


def option(row: OptionDifference) -> tuple[str, ...]:
    """In the order of ``OPTIONS``."""
    return row.name, _value(row.a), _value(row.b)


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


def group(row: GroupDifference) -> tuple[str, ...]:
    """In the order of ``GROUPS``."""
    return row.name, str(row.dense), str(row.a), str(row.b), "-" if row.shared is None else str(row.shared)


def layer(row: LayerDifference, shown: Callable[[int], str]) -> tuple[str, ...]:
    """In the order of ``LAYERS``; ``shown`` makes words of numbers."""

    def said(value: int | None) -> str:
        return "-" if value is None else shown(value)

    shapes = ("-" if sizes is None else shape(sizes) for sizes in (row.shape_a, row.shape_b))
    moved = "-" if row.change is None else ("equal" if row.change == 0 else f"{row.change:.3g}")
    return (
        row.name or "(root)", row.type, *shapes, said(row.params_a), said(row.params_b), said(row.macs_a),
        said(row.macs_b), moved,
    )  # fmt: skip


def _listed(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> tuple[RenderableType, ...]:
    """The first of them, after an empty line; nothing where there are none."""
    all_ = list(rows)
    if not all_:
        return ()
    drawn = [*all_[:MOST_ROWS]]
    if len(all_) > MOST_ROWS:
        drawn.append((f"... and {len(all_) - MOST_ROWS} more, in the report (--report FILE)",))
    return Text(), _grid(titles, drawn)


def _grid(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> RenderableType:
    drawn = grid(*(one_line(title) for title in titles))
    for row in rows:
        drawn.add_row(*map(safe, row))
    return drawn

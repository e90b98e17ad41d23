"""What two documents say of each other, and the rows of both side by side. No weights are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prunecli.report.differences import GroupDifference, LayerDifference, Relation, Side
from prunecli.report.model import GroupRow, Inspection, LayerRow, Report
from prunecli.report.text import count, size

Rows = Sequence[LayerRow]


def related(
    a: Side,
    b: Side,
    rows_a: Rows,
    rows_b: Rows,
    one: Report | Inspection | None,
    other: Report | Inspection | None,
) -> tuple[Relation, str]:
    """How they are related, and in words, where one is a report at least: by digests, then by layers."""
    for side, seen, document in ((a, b, other), (b, a, one)):
        if side.kind == "checkpoint" and document is not None and side.digest is not None:
            if seen.digest == side.digest:
                return "described", f"{seen.name} is the {seen.kind} of {side.name}, by its digest"
            if document.checkpoint is not None and document.checkpoint.digest == side.digest:
                return "described", f"{side.name} is what the run of {seen.name} began with, by its digest"
    names = [row.name for row in rows_a] == [row.name for row in rows_b]
    if not names:
        shared = len({row.name for row in rows_a} & {row.name for row in rows_b})
        return "different", different(a, b, shared, "layer")
    if isinstance(one, Report) and isinstance(other, Report):
        return _runs(a, b, one, other)
    if a.digest is not None and a.digest == b.digest:
        return "described", f"{a.name} and {b.name} are about the same file, by its digest"
    return "alike", "the same layers, of another file: nothing is known of the weights"


def _runs(a: Side, b: Side, one: Report, other: Report) -> tuple[Relation, str]:
    if a.digest is not None and a.digest == b.digest:
        return "identical", "two reports of the same file, by its digest"
    source = one.checkpoint
    if source is not None and other.checkpoint is not None and source.digest == other.checkpoint.digest:
        return "runs", f"two runs on the same checkpoint, {source.name}"
    return "runs", "two runs on the same network, from different checkpoints"


def different(a: Side, b: Side, shared: int, what: str = "tensor") -> str:
    """What each of two networks is."""
    some = f"{shared} {what} names" if shared != 1 else f"1 {what} name"
    return f"different networks, with {some} in common: {_words(a)}, and {_words(b)}"


def _words(side: Side) -> str:
    named = side.network.spec or "a module"
    totals = side.totals
    return (
        f"{side.name} is {named} ({count(totals.params)} parameters, {count(totals.macs)} MACs, "
        f"{size(totals.bytes)})"
    )


def joined_layers(a: Rows, b: Rows, changes: Mapping[str, float]) -> tuple[LayerDifference, ...]:
    """By name, in the order of A; what only B has at the end."""
    first, second = ({row.name: row for row in rows} for rows in (a, b))
    return tuple(
        _layer(name, first.get(name), second.get(name), changes.get(name)) for name in first | second
    )


def _layer(name: str, one: LayerRow | None, other: LayerRow | None, change: float | None) -> LayerDifference:
    kinds = dict.fromkeys(row.type for row in (one, other) if row is not None)
    return LayerDifference(
        name, " -> ".join(kinds),
        None if one is None else one.shape_after, None if other is None else other.shape_after,
        None if one is None else one.params_after, None if other is None else other.params_after,
        None if one is None else one.macs_after, None if other is None else other.macs_after,
        change,
    )  # fmt: skip


def joined_groups(a: Sequence[GroupRow], b: Sequence[GroupRow]) -> tuple[GroupDifference, ...]:
    """Groups of which either run removed units, where both have them in the same size."""
    second = {row.name: row for row in b}
    pairs = ((row, second[row.name]) for row in a if row.name in second)
    return tuple(
        GroupDifference(one.name, one.dense, one.kept, other.kept)
        for one, other in pairs
        if one.dense == other.dense and (one.kept < one.dense or other.kept < other.dense)
    )

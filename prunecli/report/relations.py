"""What two documents say of each other, and the rows of both side by side. No weights are looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from prunecli.report.differences import GroupDifference, LayerDifference, Relation, Side
from prunecli.report.model import GroupRow, Inspection, LayerRow, Report
from prunecli.report.text import count, size
from prunecli.report.trained import Finetuning

Rows = Sequence[LayerRow]
Document: TypeAlias = Report | Inspection | Finetuning


def related(
    a: Side,
    b: Side,
    rows_a: Rows,
    rows_b: Rows,
    one: Document | None,
    other: Document | None,
) -> tuple[Relation, str]:
    """How they are related, and in words, where one is a report at least: by digests, then by layers."""
    for side, seen, document in ((a, b, other), (b, a, one)):
        if side.kind == "checkpoint" and document is not None and side.digest is not None:
            if seen.digest == side.digest:
                return "described", f"{seen.name} is the {seen.kind} of {side.name}, by its digest"
            if document.checkpoint is not None and document.checkpoint.digest == side.digest:
                return "described", f"{side.name} is what the run of {seen.name} began with, by its digest"
    if isinstance(one, Finetuning) or isinstance(other, Finetuning):
        return _trained(a, b, one, other)
    names = [row.name for row in rows_a] == [row.name for row in rows_b]
    if not names:
        shared = len({row.name for row in rows_a} & {row.name for row in rows_b})
        return "different", different(a, b, shared, "layer")
    if isinstance(one, Report) and isinstance(other, Report):
        return _runs(a, b, one, other)
    if a.digest is not None and a.digest == b.digest:
        return "described", f"{a.name} and {b.name} are about the same file, by its digest"
    return "alike", "the same layers, of another file: nothing is known of the weights"


def _trained(a: Side, b: Side, one: Document | None, other: Document | None) -> tuple[Relation, str]:
    """Where one is the report of a training at least, which has no layers."""
    both = isinstance(one, Finetuning) and isinstance(other, Finetuning)
    if a.digest is not None and a.digest == b.digest:
        if both:
            return "identical", "two reports of the same file, by its digest"
        return "described", f"{a.name} and {b.name} are about the same file, by its digest"
    sources = [None if document is None else document.checkpoint for document in (one, other)]
    for source, after, before in ((sources[1], b, a), (sources[0], a, b)):
        if source is not None and source.digest == before.digest:
            return "described", f"{after.name} began with the result of {before.name}, by its digest"
    first, second = sources
    if both and first is not None and second is not None and first.digest == second.digest:
        return "runs", f"two runs on the same checkpoint, {first.name}"
    facts = [(side.network.spec, dict(side.network.arguments)) for side in (a, b)]
    if a.network.spec is not None and facts[0] == facts[1]:
        return "alike", f"both are of {a.network.spec}: nothing is known of widths and weights"
    return "different", f"different networks: {_words(a)}, and {_words(b)}"


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
    named = side.network.spec or ("a module" if side.counter else "a network that is not known")
    totals = side.totals
    told = (
        "" if totals.params is None else f"{count(totals.params)} parameters",
        "" if totals.macs is None else f"{count(totals.macs)} MACs",
        "" if totals.bytes is None else size(totals.bytes),
    )
    sizes = ", ".join(filter(None, told))
    return f"{side.name} is {named}{f' ({sizes})' if sizes else ''}"


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

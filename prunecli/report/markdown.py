"""The report as Markdown, for a pull-request comment or a job summary: tables as GitHub and GitLab draw them,
long lists folded away. Everything from a file passes through ``escaped``.
"""

from __future__ import annotations

import html
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunecli.report import beside, mended, remarks
from prunecli.report.differences import Difference
from prunecli.report.epochs import EpochRow, TrainedStage
from prunecli.report.evaluated import figures
from prunecli.report.figures import Quality
from prunecli.report.finetuned import settings, sparsity
from prunecli.report.gated import Gate
from prunecli.report.gated import rows as gate_rows
from prunecli.report.measured import Evaluation
from prunecli.report.model import GroupRow, Inspection, LayerRow, Output, Proof, Report, Source
from prunecli.report.sparse import LayerSparsity
from prunecli.report.terminal import target_line
from prunecli.report.text import gist, milliseconds, one_line, plural, seconds, shape, times
from prunecli.report.timed import Latency
from prunecli.report.trained import Finetuning

LONGEST = 60_000
"""Characters that are surely shown: a comment on GitHub may have 65,536."""

_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")
# At the beginning of a line: a list, a rule, the line under a heading.
_BEGINNING = re.compile(r"[-+](?=\s)|[-=](?=[-=\s]+$)|\d{1,9}(?=[.)](?:\s|$))")
Row = Sequence[str]


@dataclass(frozen=True)
class Folded:
    """A table that is opened by a click."""

    title: str
    titles: Row
    rows: Sequence[Row]

    def shown(self, room: int) -> str:
        """At most ``room`` characters, and nothing without rows."""
        fits, left = 0, room - 400 - 2 * len(_line(self.titles))
        while fits < len(self.rows) and (left := left - len(_line(self.rows[fits])) - 1) >= 0:
            fits += 1
        if not fits:
            return ""
        more = len(self.rows) - fits
        cut = f" (the first {fits:,}; all are in the JSON report)" if more else ""
        title = f"{len(self.rows):,} {self.title}{cut}"
        return f"\n\n{_folded(title, _table(self.titles, self.rows[:fits]))}"


def result(report: Report) -> str:
    """A finished run: headline figures, quality, trainings; then layers, groups and how to do it again."""
    source = report.checkpoint.name if report.checkpoint else "module"
    parts = [
        *_title(source, report.output, report.network.spec),
        *_gated(report.gates),
        _table(("", "before", "after", "smaller"), _totals(report)),
        _table(("", ""), ((name, escaped(value)) for name, value in _facts(report))),
        *_quality(report.quality),
        *map(_stage, report.training),
        *_notes((*report.network.notes, *report.notes)),
        _again(report.command, report.version, report.checkpoint, report.output),
    ]
    changed = [_layer(row) for row in report.layers if row.shape_before != row.shape_after]
    trained = [
        Folded(f"epochs: {stage.name}", _EPOCHS, [_epoch(row) for row in stage.epochs])
        for stage in report.training
    ]
    return _joined(
        parts,
        [
            *trained, *_groups(report), Folded("layers that became smaller", _LAYERS, changed),
            *_timed(report.latency), *_idle(report.sparsity),
        ],
    )  # fmt: skip


def finetuning(found: Finetuning) -> str:
    """A finished training: quality before and after, every epoch, and how to do it again."""
    source = found.checkpoint.name if found.checkpoint else "module"
    named = {"dense": found.dense, "before": found.before, "after": found.after}
    facts = [("settings", settings(found.settings)), ("data", found.data.origin)]
    facts += [] if found.sparsity is None else sparsity(found.sparsity)
    facts += remarks.latency(found.latency)
    parts = [
        *_title(source, found.output, found.network.spec),
        *_gated(found.gates),
        _table(("", ""), ((name, escaped(value)) for name, value in facts)),
        *_quality({name: each for name, each in named.items() if each is not None}),
        *_notes((*found.network.notes, *found.notes)),
        _again(found.command, found.version, found.checkpoint, found.output),
    ]
    epochs = Folded("epochs", _EPOCHS, [_epoch(row) for row in found.epochs])
    return _joined(parts, [epochs, *_timed(found.latency)])


def difference(found: Difference) -> str:
    """Two networks side by side: headline figures first, lists folded away."""
    names = (escaped(found.a.name), escaped(found.b.name))
    facts = beside.facts(found)
    parts = [
        f"## {names[0]} and {names[1]}",
        escaped(found.verdict),
        _table(("", *names, "smaller", "change"), map(_escaped, beside.sizes(found, exact=True))),
        *([_table(("", ""), map(_escaped, facts))] if facts else []),
        *_quality(beside.columns(found)),
        *_gated(found.gates),
        *_notes(found.notes),
    ]
    layers = [_escaped(beside.layer(row, "{:,}".format)) for row in found.layers if row.differs]
    lists = [
        Folded("settings that differ", beside.OPTIONS, [_escaped(beside.option(r)) for r in found.options]),
        Folded("groups", beside.GROUPS, [_escaped(beside.group(row)) for row in found.groups]),
        Folded("layers that differ", beside.LAYERS, layers),
    ]
    if found.command:
        parts.append(_folded("how to do it again", _typed(found.command)))
    return _joined(parts, lists)


def inspection(found: Inspection) -> str:
    """A checkpoint: sizes first, then what can be removed of it, its layers and its zeros."""
    source = found.checkpoint.name if found.checkpoint else "module"
    free = sum(row.status == "prunable" for row in found.groups)
    facts = [
        ("groups", f"{len(found.groups):,}, of which {free:,} can be pruned"),
        *remarks.latency(found.latency), *remarks.zeros(found.sparsity),
        ("MACs counted by", found.counter), ("time", seconds(sum(found.timings.values()))),
    ]  # fmt: skip
    sizes = [(name, f"{getattr(found.totals, key):,}") for name, key in _SIZES]
    parts = [
        *_title(source, None, found.network.spec),
        _table(("size", ""), sizes),
        _table(("", ""), ((name, escaped(value)) for name, value in facts)),
        *_notes((*found.network.notes, *found.notes)),
        _again(found.command, found.version, found.checkpoint, None),
    ]
    pinned = Counter(row.reason for row in found.pinned)
    return _joined(
        parts,
        [
            *_reasons(found.groups),
            Folded("reasons why dimensions are pinned", ("pinned because", "dimensions"), _counted(pinned)),
            Folded("groups", ("group", "kind", "units", "can be pruned"), [*map(_group, found.groups)]),
            Folded("layers", _PRESENT, [_present(row) for row in found.layers]),
            *_timed(found.latency), *_idle(found.sparsity),
        ],
    )  # fmt: skip


def evaluation(found: Evaluation) -> str:
    """How good a checkpoint is: gates first, then quality."""
    source = found.checkpoint.name if found.checkpoint else "module"
    labels = "" if found.data.labelled else ", without labels"
    facts = [("data", f"{found.data.origin}, {plural(found.data.samples, 'sample')}{labels}")]
    facts += [("against", found.against.name)] if found.against else []
    if found.totals is not None:
        facts += [(name, f"{getattr(found.totals, key):,}") for name, key in _SIZES]
    facts.append(("time", seconds(sum(found.timings.values()))))
    parts = [
        *_title(source, None, found.network.spec),
        *_gated(found.gates),
        *_quality(found.columns),
        _table(("", ""), ((name, escaped(value)) for name, value in facts)),
        *_notes((*found.network.notes, *found.notes)),
        _again(found.command, found.version, found.checkpoint, None),
    ]
    return _joined(parts, [])


def _escaped(row: Row) -> Row:
    return tuple(map(escaped, row))


def escaped(value: object) -> str:
    """Text that is only text: no markup, no HTML, no link, and nobody is mentioned."""
    safe = _SPECIAL.sub(r"\\\1", html.escape(one_line(value), quote=False))
    begins = _BEGINNING.match(safe)
    if begins is not None:
        at = begins.end() - (not begins[0].isdigit())
        safe = f"{safe[:at]}\\{safe[at:]}"
    return safe.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def _title(source: str, output: Output | None, spec: str | None) -> list[str]:
    written = f" → {escaped(output.name)}" if output else ""
    return [f"## {escaped(source)}{written}", *([escaped(spec)] if spec else [])]


def _totals(report: Report) -> list[Row]:
    before, after = report.before, report.after
    pairs = [(name, getattr(before, key), getattr(after, key)) for name, key in _SIZES]
    rows: list[Row] = [(name, f"{one:,}", f"{other:,}", times(one, other)) for name, one, other in pairs]
    return [*rows, *_median(report.latency)]


def _median(found: Latency | None) -> list[Row]:
    if found is None or found.after is None:
        return []
    before, after = found.before.median, found.after.median
    return [("latency", milliseconds(before), milliseconds(after), times(before, after))]


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = [("target", target_line(report)), ("proofs", "; ".join(map(_proof, report.proofs)) or "none")]
    if report.repair:
        facts.append(("repair", mended.repair(report.repair)))
    facts += remarks.latency(report.latency) + remarks.zeros(report.sparsity)
    spent = sum(report.timings.values())
    return [*facts, ("MACs counted by", report.counter), ("time", seconds(spent))]


def _proof(proof: Proof) -> str:
    return f"{proof.name} {'passed' if proof.passed else 'FAILED'}"


def _quality(columns: Mapping[str, Quality]) -> list[str]:
    if not columns:
        return []
    return [_table(("quality", *map(escaped, columns)), figures(columns))]


def _gated(gates: Sequence[Gate]) -> list[str]:
    """A row per gate; nothing where none was set."""
    if not gates:
        return []
    return [_table(("gate", "limit", "found", ""), ([*map(escaped, row)] for row in gate_rows(gates)))]


def _stage(stage: TrainedStage) -> str:
    facts = [
        f"{plural(len(stage.epochs), 'epoch')} of {settings(stage.settings)} in {seconds(stage.seconds)}"
    ]
    if stage.sparsity:
        facts += [f"{name} {value}" for name, value in sparsity(stage.sparsity)]
    return f"**{escaped(stage.name)}**: {escaped('; '.join(facts))}"


def _notes(notes: Iterable[str]) -> list[str]:
    said = [f"- {escaped(note)}" for note in dict.fromkeys(notes)]
    return ["\n".join(said)] if said else []


def _groups(report: Report) -> list[Folded]:
    cut = [
        (escaped(row.name), f"{row.dense:,}", f"{row.kept:,}", f"{1 - row.kept / row.dense:.1%}")
        for row in report.groups
        if row.status == "pruned"
    ]
    return [Folded("pruned groups", ("group", "dense", "kept", "removed"), cut), *_reasons(report.groups)]


def _reasons(groups: Sequence[GroupRow]) -> list[Folded]:
    whole = Counter(gist(row.reason or _NO_REASON) for row in groups if row.status == "whole")
    return [Folded("reasons why groups were left whole", ("reason", "groups"), _counted(whole))]


def _counted(reasons: Counter[str]) -> list[Row]:
    return [(escaped(reason), f"{number:,}") for reason, number in reasons.most_common()]


def _group(row: GroupRow) -> Row:
    said = "yes" if row.value_changing is None else f"yes, and changes values: {row.value_changing}"
    if row.status == "whole":
        said = f"no: {gist(row.reason or _NO_REASON)}"
    return escaped(row.name), escaped(row.kind), f"{row.dense:,}", escaped(said)


def _timed(found: Latency | None) -> list[Folded]:
    """What each layer has of the time, the largest part first."""
    if found is None:
        return []
    layers = sorted(found.layers, key=lambda layer: -layer.before.median)
    if found.after is None:
        alone = [(escaped(layer.name or "(root)"), milliseconds(layer.before.median)) for layer in layers]
        return [Folded("timed layers", ("timed layer", "median"), alone)]
    rows = [
        (
            escaped(layer.name or "(root)"), milliseconds(layer.before.median),
            "-" if layer.after is None else milliseconds(layer.after.median),
            "-" if layer.after is None else times(layer.before.median, layer.after.median),
        )
        for layer in layers
    ]  # fmt: skip
    return [Folded("timed layers", ("timed layer", "before", "after", "faster"), rows)]


def _idle(found: Sequence[LayerSparsity]) -> list[Folded]:
    rows = [
        (
            escaped(row.name or "(root)"), f"{row.params:,}", f"{row.zeros:,}", f"{row.near_zeros:,}",
            f"{row.channels:,}", f"{row.dead:,}", f"{row.duplicates:,}",
            "-" if row.inactive is None else f"{row.inactive:,}",
            "-" if row.two_four is None else f"{row.two_four:.1%}",
        )
        for row in found
        if remarks.idle(row)
    ]  # fmt: skip
    return [Folded("layers with zeros or idle channels", _IDLE, rows)]


def _again(command: Sequence[str], version: str, source: Source | None, output: Output | None) -> str:
    rows = [("version", escaped(version))]
    if source:
        rows.append((escaped(source.name), escaped(f"sha256 {source.digest}")))
    if output:
        rows.append((escaped(output.name), escaped(f"sha256 {output.digest}, {output.bytes:,} bytes")))
    table = _table(("", ""), rows)
    said = f"{_typed(command)}\n\n" if command else ""
    return _folded("how to do it again", said + table)


def _typed(command: Sequence[str]) -> str:
    return f"<pre>{html.escape(one_line(shlex.join(command)))}</pre>"


_SIZES = (("MACs", "macs"), ("parameters", "params"), ("bytes of weights", "bytes"))
_NO_REASON = "no reason recorded"
_PRESENT = ("layer", "type", "shape", "parameters", "MACs", "zeros")
_LAYERS = ("layer", "type", "shape before", "shape after", "parameters", "after", "MACs", "after", "zeros")
_IDLE = (
    "layer with zeros", "parameters", "zeros", "near zeros", "channels", "dead", "duplicates", "inactive",
    "2:4",
)  # fmt: skip
_EPOCHS = ("epoch", "learning rate", "loss", "top-1 in training", "top-1", "loss there", "time")


def _layer(row: LayerRow) -> Row:
    return (
        escaped(row.name or "(root)"), escaped(row.type), shape(row.shape_before), shape(row.shape_after),
        f"{row.params_before:,}", f"{row.params_after:,}", f"{row.macs_before:,}", f"{row.macs_after:,}",
        f"{row.sparsity:.1%}",
    )  # fmt: skip


def _present(row: LayerRow) -> Row:
    return (
        escaped(row.name or "(root)"), escaped(row.type), shape(row.shape_before), f"{row.params_before:,}",
        f"{row.macs_before:,}", f"{row.sparsity:.1%}",
    )  # fmt: skip


def _epoch(row: EpochRow) -> Row:
    quality = row.quality
    top1, loss = (None, None) if quality is None else (quality.top1, quality.loss)
    return (
        str(row.epoch), f"{row.lr:.4g}", f"{row.loss:.4g}", _share(row.top1), _share(top1),
        "-" if loss is None else f"{loss:.4g}", seconds(row.seconds),
    )  # fmt: skip


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"


def _table(titles: Row, rows: Iterable[Row]) -> str:
    """Names to the left, and figures to the right; a table without titles is of names and words."""
    others = "--:" if any(titles) else ":--"
    lines = [_line(titles), _line([":--", *[others] * (len(titles) - 1)])]
    return "\n".join([*lines, *map(_line, rows)])


def _line(cells: Row) -> str:
    return f"| {' | '.join(cells)} |"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escaped(title)}</summary>\n\n{content}\n\n</details>"


def _joined(parts: Sequence[str], lists: Sequence[Folded]) -> str:
    """``parts``, and as much of ``lists`` as is surely shown."""
    text = "\n\n".join(part for part in parts if part)
    for each in lists:
        text += each.shown(LONGEST - len(text))
    return text + "\n"

"""The report as tables for a terminal. Everything that comes from a file passes through ``one_line``.

Functions return renderables; printing them is the business of ``prunecli.cli.output``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from prunecli.report import mended, remarks
from prunecli.report import zeros as zero_rows
from prunecli.report.evaluated import quality
from prunecli.report.finetuned import epochs, settings, sparsity
from prunecli.report.model import GroupRow, Inspection, Proof, Report, Totals, Verification
from prunecli.report.tables import grid, heading, pairs, safe
from prunecli.report.text import count, gist, milliseconds, one_line, plural, seconds, shape, size, times
from prunecli.report.timed import Latency
from prunecli.report.verdicts import verdicts

# Longer lists are cut in the terminal; the JSON report is always complete.
MOST_ROWS = 40
MOST_REASONS = 8


def result(report: Report) -> tuple[RenderableType, ...]:
    """A finished run: the headline, how good it is, then what was removed and repaired and what was not."""
    source = report.checkpoint.name if report.checkpoint else "module"
    written = f" -> {report.output.name}" if report.output else ""
    return (
        heading(source + written, report.network),
        Text(),
        _totals(report),
        Text(),
        _facts(report),
        *verdicts(report.gates),
        *((Text(), quality(report.quality)) if report.quality else ()),
        *(part for stage in report.training for part in (Text(), epochs(stage.epochs, stage.name))),
        *_removed(report.groups),
        *_left(report.groups),
        *_unrepaired(report),
    )


def planned(report: Report) -> tuple[RenderableType, ...]:
    """A dry run: the same, said of a plan."""
    source = report.checkpoint.name if report.checkpoint else "module"
    return (
        heading(f"plan for {source} (nothing was written)", report.network),
        Text(),
        _totals(report),
        Text(),
        _facts(report),
        *verdicts(report.gates),
        *_removed(report.groups, most=None),
        *_left(report.groups),
    )


def inspection(found: Inspection, groups: bool, zeros: bool = False) -> tuple[RenderableType, ...]:
    """A checkpoint: totals, then its layers, its groups or the zeros of its layers, all of them."""
    source = found.checkpoint.name if found.checkpoint else "module"
    free = sum(row.status == "prunable" for row in found.groups)
    facts = [
        ("size", _size_line(found.totals, found.counter)),
        ("input", ", ".join(_input_words(i.name, i.dtype, i.shape) for i in found.inputs) or "-"),
        ("groups", f"{len(found.groups)}, of which {free} can be pruned"),
    ]
    if found.checkpoint:
        facts.insert(0, ("file", found.checkpoint.layout))
    if found.latency:
        facts.append(("latency", _latency_line(found.latency)))
    facts += _unsupported(found.unsupported)
    top = (heading(source, found.network), Text(), pairs(facts), Text())
    if zeros:
        return *top, zero_rows.table(found.sparsity)
    if not groups:
        return *top, _layer_table(found)
    pinned = Counter(row.reason for row in found.pinned)
    return *top, _group_table(found.groups), *by_reason("pinned dimensions", pinned)


def verification(found: Verification) -> tuple[RenderableType, ...]:
    """One line per proof."""
    table = grid("proof", "", ">error", ">limit", "detail")
    for proof in found.proofs:
        mark = Text("pass", style="green") if proof.passed else Text("FAIL", style="bold red")
        table.add_row(
            safe(proof.name), mark, _small(proof.error), _small(proof.tolerance), safe(proof.detail)
        )
    facts = [("file", f"{size(found.output.bytes)}, sha256 {found.output.digest[:16]}...")]
    if found.changed_by:
        facts.append(("changed by", ", ".join(found.changed_by)))
    return heading(found.output.name, found.network), Text(), pairs(facts), Text(), table


def listing(rows: Sequence[Mapping[str, str]]) -> RenderableType:
    """Names with what is known about them, one per line."""
    columns = [key for key in ("name", "summary", "needs", "source") if any(key in row for row in rows)]
    table = grid(*columns) if len(columns) > 1 else Table(box=None, show_header=False, padding=0)
    for row in rows:
        table.add_row(*(safe(row.get(key, "")) for key in columns))
    return table


def _totals(report: Report) -> RenderableType:
    table = grid("", ">before", ">after", ">smaller")
    before, after = report.before, report.after
    table.add_row("MACs", count(before.macs), count(after.macs), times(before.macs, after.macs))
    table.add_row("parameters", count(before.params), count(after.params), times(before.params, after.params))
    table.add_row("weights", size(before.bytes), size(after.bytes), times(before.bytes, after.bytes))
    return table


def _facts(report: Report) -> RenderableType:
    facts = [
        ("target", target_line(report)),
        ("proofs", "; ".join(map(_proof_words, report.proofs)) or "none"),
    ]
    if report.repair:
        facts.append(("repair", mended.repair(report.repair)))
    for stage in report.training:
        learned = ", with the dense network beside it" if stage.distilled else ""
        length = plural(len(stage.epochs), "epoch")
        facts.append((stage.name, f"{length} of {settings(stage.settings)}{learned}"))
        if stage.sparsity is not None:
            facts += sparsity(stage.sparsity)
    facts += remarks.latency(report.latency) + remarks.zeros(report.sparsity)
    if report.output:
        facts.append(("file", f"{size(report.output.bytes)}, sha256 {report.output.digest[:16]}..."))
    facts += _unsupported(report.unsupported)
    spent = sorted(report.timings.items(), key=lambda item: -item[1])[:4]
    detail = ", ".join(f"{one_line(name)} {seconds(value)}" for name, value in spent)
    facts.append(("time", f"{seconds(sum(report.timings.values()))} ({detail})" if spent else "-"))
    return pairs(facts)


def target_line(report: Report) -> str:
    """What was asked for, and what was reached."""
    goal = report.target
    if goal.asked is None:
        return f"{remarks.without_target(goal.kind)}, {goal.reached:.4g}x fewer MACs"
    verdict = "met" if goal.met else "NOT met"
    return (
        f"{goal.kind} {goal.asked:g}: reached {goal.reached:.4g}, {verdict} (tolerance {goal.tolerance:.2%})"
    )


def _proof_words(proof: Proof) -> str:
    words = one_line(proof.name) + (" passed" if proof.passed else " FAILED")
    if proof.error is None:
        return words
    limit = "" if proof.tolerance is None else f", limit {proof.tolerance:.0e}"
    return f"{words} (error {proof.error:.1e}{limit})"


def _removed(groups: Iterable[GroupRow], most: int | None = MOST_ROWS) -> tuple[RenderableType, ...]:
    rows = [row for row in groups if row.status == "pruned"]
    if not rows:
        return ()
    table = grid("pruned group", ">dense", ">kept", ">removed", "reaches")
    for row in rows[:most]:
        share = f"{1 - row.kept / row.dense:.1%}"
        table.add_row(safe(row.name), str(row.dense), str(row.kept), share, safe(_layers(row)))
    if most is not None and len(rows) > most:
        table.add_row(f"... and {len(rows) - most} more, in the report")
    return Text(), table


def _left(groups: Iterable[GroupRow]) -> tuple[RenderableType, ...]:
    whole = (gist(row.reason or "no reason recorded") for row in groups if row.status == "whole")
    return by_reason("groups left whole", Counter(whole))


def _unrepaired(report: Report) -> tuple[RenderableType, ...]:
    return by_reason("operations left as cut", mended.left(report.repair)) if report.repair else ()


def by_reason(what: str, reasons: Counter[str]) -> tuple[RenderableType, ...]:
    """How often each reason applies, the most frequent first."""
    if not reasons:
        return ()
    table = grid(f">{what}", "reason")
    for reason, number in reasons.most_common(MOST_REASONS):
        table.add_row(str(number), safe(reason))
    if len(reasons) > MOST_REASONS:
        rest = sum(number for _, number in reasons.most_common()[MOST_REASONS:])
        table.add_row(str(rest), "other reasons, in the report")
    return Text(), table


def _layer_table(found: Inspection) -> Table:
    timed = {} if found.latency is None else {layer.name: layer.before for layer in found.latency.layers}
    table = grid("layer", "type", "shape", ">params", ">MACs", ">zeros", *([">ms"] if timed else []))
    for row in found.layers:
        taken = timed.get(row.name)
        table.add_row(
            safe(row.name or "(root)"),
            safe(row.type),
            shape(row.shape_before),
            count(row.params_before),
            count(row.macs_before),
            f"{row.sparsity:.1%}" if row.params_before else "-",
            *(["-" if taken is None else milliseconds(taken.median).removesuffix(" ms")] if timed else []),
        )
    return table


def _latency_line(found: Latency) -> str:
    """The median, what eight of ten runs lie between, and what it was taken on."""
    low, high = milliseconds(found.before.low), milliseconds(found.before.high)
    threads = plural(found.threads, "thread")
    return (
        f"{milliseconds(found.before.median)} ({low} to {high} in 8 of 10 of {plural(found.runs, 'run')}), "
        f"batch {found.batch}, {found.dtype}, {found.device}, {threads}"
    )


def _group_table(groups: Iterable[GroupRow]) -> Table:
    table = grid("group", "kind", ">units", "reaches", "prunable")
    for row in groups:
        yes = "yes" if row.value_changing is None else f"yes; value-changing: {row.value_changing}"
        verdict = yes if row.status == "prunable" else f"no: {row.reason}"
        table.add_row(safe(row.name), safe(row.kind), str(row.dense), safe(_layers(row)), safe(verdict))
    return table


def _layers(row: GroupRow) -> str:
    first = ", ".join(name or "(root)" for name in row.layers[:2])
    return first + (f" +{len(row.layers) - 2}" if len(row.layers) > 2 else "")


def _unsupported(operators: Mapping[str, int]) -> list[tuple[str, str]]:
    if not operators:
        return []
    return [("not counted", ", ".join(f"{name} x{number}" for name, number in sorted(operators.items())))]


def _size_line(totals: Totals, counter: str) -> str:
    macs = f"{count(totals.macs)} MACs by {counter}"
    return f"{count(totals.params)} parameters, {macs}, {size(totals.bytes)}"


def _input_words(name: str | None, dtype: str, sizes: tuple[int, ...]) -> str:
    return f"{name + ' ' if name else ''}{shape(sizes)} {dtype}"


def _small(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}"

"""The report as CSV: a row per layer of a run or of a checkpoint, per epoch of a training, per network that
was evaluated.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields

from prunecli.report.differences import Difference, LayerDifference
from prunecli.report.figures import Quality
from prunecli.report.measured import Evaluation
from prunecli.report.model import Inspection, LayerRow, Report
from prunecli.report.sparse import LayerSparsity
from prunecli.report.text import one_line
from prunecli.report.timed import LayerLatency
from prunecli.report.trained import EpochRow, Finetuning


def layers(report: Report | Inspection) -> str:
    """The fields of ``LayerRow``, shapes as ``64x3x7x7``, and behind them what was measured of the layer:
    medians in ms as ``latency.before`` and ``latency.after``, and what of ``LayerSparsity`` there is as
    ``result.zeros`` and so on.
    """
    names = [item.name for item in fields(LayerRow)]
    timed = {row.name: row for row in report.latency.layers} if report.latency else {}
    sparse = {row.name: row for row in report.sparsity}
    zeros = [item.name for item in fields(LayerSparsity) if item.name != "name"]
    titles = [*names, "latency.before", "latency.after", *(f"result.{name}" for name in zeros)]
    rows = (
        [
            *(_cell(getattr(row, name)) for name in names),
            *_medians(timed.get(row.name)),
            *(_cell(getattr(sparse.get(row.name), name, None)) for name in zeros),
        ]
        for row in report.layers
    )
    return _csv(titles, rows)


def _medians(row: LayerLatency | None) -> list[object]:
    spreads = (None, None) if row is None else (row.before, row.after)
    return [_cell(None if spread is None else spread.median) for spread in spreads]


def differences(found: Difference) -> str:
    """The fields of ``LayerDifference``; empty where one side does not have the layer."""
    names = [item.name for item in fields(LayerDifference)]
    return _csv(names, ([_cell(getattr(row, name)) for name in names] for row in found.layers))


def epochs(found: Finetuning) -> str:
    """The fields of ``EpochRow``, and those of its quality as ``validation.top1`` and so on."""
    own = [item.name for item in fields(EpochRow) if item.name != "quality"]
    judged = [item.name for item in fields(Quality)]
    rows = (
        [
            *(_cell(getattr(row, name)) for name in own),
            *(_cell(getattr(row.quality, n, None)) for n in judged),
        ]
        for row in found.epochs
    )
    return _csv([*own, *(f"validation.{name}" for name in judged)], rows)


def networks(found: Evaluation) -> str:
    """The fields of ``Quality``: of the dense network where there is one, and of the one evaluated."""
    names = [item.name for item in fields(Quality)]
    rows = ([name, *(_cell(getattr(row, key)) for key in names)] for name, row in found.columns.items())
    return _csv(["network", *names], rows)


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, str):
        said = one_line(value)
        # A spreadsheet would take it for a formula.
        return f"'{said}" if said[:1] in ("=", "+", "-", "@") else said
    return value


def _csv(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(titles)
    writer.writerows(rows)
    return content.getvalue()

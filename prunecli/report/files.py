"""The documents that are written to disk or handed on: the report, scores, and the plan."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from prunecli.checkpoint.atomic import write_whole
from prunecli.errors import OutputError
from prunecli.plan import Plan
from prunecli.report import html, markdown, spreadsheet
from prunecli.report.differences import Difference
from prunecli.report.measured import Evaluation
from prunecli.report.model import Inspection, Report
from prunecli.report.scored import Scoring
from prunecli.report.trained import Finetuning

Reported: TypeAlias = Report | Finetuning | Inspection | Evaluation
_Renderers: TypeAlias = Mapping[str, Callable[[Any], str]]
_RENDERERS: Mapping[type[Reported], _Renderers] = {
    Report: {".md": markdown.result, ".csv": spreadsheet.layers, ".html": html.result},
    Finetuning: {".md": markdown.finetuning, ".csv": spreadsheet.epochs, ".html": html.finetuning},
    Inspection: {".md": markdown.inspection, ".csv": spreadsheet.layers, ".html": html.inspection},
    Evaluation: {".md": markdown.evaluation, ".csv": spreadsheet.networks, ".html": html.evaluation},
}


def write_report(report: Reported, path: Path) -> None:
    """Write ``report`` as the ending of ``path`` says, ``.md``, ``.csv``, ``.html`` or JSON, whole or not at
    all. Raises ``OutputError``.
    """
    _write(rendered(report, path.suffix), path)


def rendered(report: Reported, ending: str) -> str:
    """``report`` as Markdown (``.md``), CSV (``.csv``), a page (``.html``) or JSON."""
    render = _RENDERERS[type(report)].get(ending)
    return _json(report.to_json()) if render is None else render(report)


def write_difference(found: Difference, path: Path) -> None:
    """Write ``found`` as the ending of ``path`` says, ``.md``, ``.csv``, ``.html`` or JSON, whole or not at
    all. Raises ``OutputError``.
    """
    if path.suffix == ".md":
        _write(markdown.difference(found), path)
    elif path.suffix == ".csv":
        _write(spreadsheet.differences(found), path)
    elif path.suffix == ".html":
        _write(html.difference(found), path)
    else:
        _write(_json(found.to_json()), path)


def write_scores(found: Scoring, path: Path) -> None:
    """Write ``found`` as JSON, or as CSV with a row per unit and criterion where ``path`` ends so, whole or
    not at all. Raises ``OutputError``.
    """
    _write(_csv(found) if path.suffix == ".csv" else _json(found.to_json()), path)


def write_plan(plan: Plan, path: Path) -> None:
    """Write ``plan`` as ``prune run --plan`` reads it, whole or not at all. Raises ``OutputError``."""
    _write(_json({"schema": "prunecli.plan/1", **plan.to_json()}), path)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _csv(found: Scoring) -> str:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(("group", "unit", "criterion", "score"))
    writer.writerows(found.rows)
    return content.getvalue()


def _write(content: str, path: Path) -> None:
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise OutputError(
            f"{path} could not be written: {error.strerror}", "choose another --report"
        ) from error


def plan_document(plan: Plan, report: Report) -> dict[str, Any]:
    """What ``--dry-run --json`` prints and ``--plan`` reads (``prunecli.plan/1``): the plan, and what it
    would do.
    """
    told = report.to_json()
    facts = {key: told[key] for key in ("version", "checkpoint", "network", "target", "before", "after")}
    return {"schema": "prunecli.plan/1", **facts, **plan.to_json()}

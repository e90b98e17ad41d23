"""What is kept of the epochs: rows for the report, ``metrics.jsonl``, and which epoch was the best."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prunecli.checkpoint.atomic import as_output_error, write_whole
from prunecli.report.figures import Quality
from prunecli.report.model import document_value
from prunecli.report.trained import EpochRow


def to_state(rows: Sequence[EpochRow]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]


def from_state(content: Sequence[Mapping[str, Any]]) -> list[EpochRow]:
    return [
        EpochRow(**{**row, "quality": None if row["quality"] is None else Quality(**row["quality"])})
        for row in content
    ]


def write_metrics(path: Path, rows: Sequence[EpochRow]) -> None:
    """One JSON object per line and epoch. The whole file each time, so that it never has an epoch twice.
    Raises ``OutputError``.
    """
    lines = [json.dumps(document_value(row), allow_nan=False) for row in rows]
    with as_output_error(path):
        write_whole(path, "".join(f"{line}\n" for line in lines).encode())


def goodness(quality: Quality | None) -> float:
    """What an early stop watches: the accuracy, or how small the loss is, or how near to the dense one."""
    if quality is None:
        return float("-inf")
    for figure, sign in ((quality.top1, 1), (quality.loss, -1), (quality.agreement, 1), (quality.error, -1)):
        if figure is not None:
            return sign * figure
    return float("-inf")


def best(rows: Sequence[EpochRow]) -> EpochRow:
    """The first of the best."""
    return max(rows, key=lambda row: (goodness(row.quality), -row.epoch))

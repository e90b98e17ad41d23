from __future__ import annotations

import json
from pathlib import Path

import pytest

from prunecli.errors import OutputError
from prunecli.report.figures import Quality
from prunecli.report.trained import EpochRow
from prunecli.training import journal


def row(epoch: int, quality: Quality | None, loss: float = 1.5) -> EpochRow:
    return EpochRow(epoch, loss, 0.5, 0.1, 2.0, 64, quality)


ROWS = [row(1, Quality(9, top1=0.5, loss=1.0)), row(2, None), row(3, Quality(9, top1=0.75, loss=2.0))]


def test_rows_survive_the_state() -> None:
    assert journal.from_state(journal.to_state(ROWS)) == ROWS


def test_metrics_are_one_line_per_epoch(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for count in (2, 3):
        journal.write_metrics(path, [*ROWS[:count]])
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line["epoch"] for line in lines] == list(range(1, count + 1))
    assert lines[0]["quality"]["top1"] == 0.5
    assert lines[1]["quality"] is None
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        journal.write_metrics(tmp_path / "none" / "m.jsonl", ROWS)


def test_the_best_is_the_first_with_the_best_figure() -> None:
    assert journal.best(ROWS).epoch == 3
    same = [row(n, Quality(9, top1=0.5)) for n in (1, 2)]
    assert journal.best(same).epoch == 1
    losses = [row(n, Quality(9, loss=loss)) for n, loss in ((1, 3.0), (2, 1.0), (3, 2.0))]
    assert journal.best(losses).epoch == 2
    errors = [row(n, Quality(9, error=error)) for n, error in ((1, 0.3), (2, 0.1))]
    assert journal.best(errors).epoch == 2
    assert journal.goodness(Quality(9)) == journal.goodness(None) == float("-inf")

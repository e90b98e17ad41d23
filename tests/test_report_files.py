from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from report_examples import SCORED, UNSCORED, evaluation, finetuning, inspection, report, scoring

from prunecli.errors import OutputError
from prunecli.plan import Plan
from prunecli.report.files import plan_document, write_report, write_scores


def test_the_report_is_written_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    write_report(report(), path)
    assert json.loads(path.read_text()) == report().to_json()
    assert path.stat().st_mode & 0o600 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json"]


def test_the_ending_says_what_a_report_is(tmp_path: Path) -> None:
    begins = {".json": "{", ".md": "## resnet50.pth", ".html": "<!doctype html>", ".csv": None}
    titles = {"Report": "name,type", "Finetuning": "epoch,loss", "Inspection": "name,type"}
    for found in (report(), finetuning(), inspection(), evaluation()):
        for ending, first in begins.items():
            path = tmp_path / f"r{ending}"
            write_report(found, path)
            header = first or titles.get(type(found).__name__, "network,samples")
            assert path.read_text().startswith(header)


def test_a_report_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_report(report(), tmp_path / "missing" / "r.json")
    (tmp_path / "dir.json").mkdir()
    with pytest.raises(OutputError, match="could not be written"):
        write_report(report(), tmp_path / "dir.json")
    assert [p.name for p in tmp_path.iterdir()] == ["dir.json"]


def test_a_plan_survives_the_way_through_its_document() -> None:
    plan = Plan({"conv1": (0, 2, 5)}, {"conv1": 8})
    data = json.loads(json.dumps(plan_document(plan, report())))
    assert data["schema"] == "prunecli.plan/1"
    assert data["target"]["reached"] == 2.0013
    assert Plan.from_json(data) == plan


def test_scores_are_written_as_json_or_as_a_row_per_unit(tmp_path: Path) -> None:
    odd = replace(SCORED, name='a,"b"', scores={"taylor": (0.1, -2.5e-30)})
    found = replace(scoring(), groups=(odd, UNSCORED))
    write_scores(found, tmp_path / "s.json")
    assert json.loads((tmp_path / "s.json").read_text()) == found.to_json()
    write_scores(found, tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["group", "unit", "criterion", "score"],
            ['a,"b"', "0", "taylor", "0.1"],
            ['a,"b"', "1", "taylor", "-2.5e-30"],
        ]
    with pytest.raises(OutputError, match="could not be written"):
        write_scores(found, tmp_path / "missing" / "s.csv")

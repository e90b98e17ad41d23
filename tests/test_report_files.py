from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_examples import report

from prunecli.errors import OutputError
from prunecli.plan import Plan
from prunecli.report.files import plan_document, write_report


def test_the_report_is_written_whole_with_ordinary_permissions(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text("old")
    write_report(report(), path)
    assert json.loads(path.read_text()) == report().to_json()
    assert path.stat().st_mode & 0o600 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json"]


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

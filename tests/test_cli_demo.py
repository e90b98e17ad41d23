from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import Ran, run_here
from report_examples import report

import prunecli.demo
from prunecli.demo import DemoResult


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def fake(output: Path, *, speedup: float, force: bool, progress: object) -> DemoResult:
        output.write_bytes(b"x")
        return DemoResult(report(), 99.2, 98.9, 360)

    monkeypatch.setattr(prunecli.demo, "run", fake)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_accuracy_is_printed_before_and_after(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "demo")
    assert ran.code == 0
    assert "accuracy on 360 test images: 99.2 % before, 98.9 % after" in ran.out
    assert sorted(path.name for path in folder.iterdir()) == [
        "demo.pruned.json",
        "demo.pruned.safetensors",
    ]
    assert json.loads((folder / "demo.pruned.json").read_text())["schema"] == "prunecli.report/1"


def test_json_quiet_and_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(run_here(capsys, "demo", "--json").out)
    assert data["accuracy"] == {"before": 99.2, "after": 98.9, "images": 360}
    assert run_here(capsys, "demo").code == 2
    assert run_here(capsys, "demo", "-q", "--force") == Ran(0, "demo.pruned.safetensors\n", "")
    assert run_here(capsys, "demo", "--speedup", "0.5", "--force").code == 2

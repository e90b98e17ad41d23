from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cli_runner import run_here
from report_examples import difference

import prunecli
from prunecli.gates import Figures, Gates
from prunecli.report.differences import Difference
from prunecli.report.schema import json_schema


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pth", "b.pth", "a.json", "b.json"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def fake(a: Path, b: Path, **options: Any) -> Difference:
        made.append({"a": a, "b": b, **options})
        limits = Gates.of(options.get("gates"))
        return replace(difference(), gates=limits.judged(Figures.of(difference().b.totals)))

    monkeypatch.setitem(prunecli.__dict__, "diff", fake)
    return made


def test_a_table_one_document_or_one_word(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "diff", "a.pth", "b.pth")
    assert ran.code == 0
    assert ran.out.splitlines()[0] == difference().verdict
    assert ran.err == "note: identified\n"
    assert run_here(capsys, "diff", "a.pth", "b.pth", "-q").out == "cut\n"
    ran = run_here(capsys, "diff", "a.pth", "b.pth", "--json")
    told = json.loads(ran.out)
    assert told["command"] == ["prune", *sys.argv[1:]]
    assert told == difference().to_json() | {"command": told["command"]}
    jsonschema.Draft202012Validator(json_schema()).validate(told)


def test_options_are_handed_on(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    typed = (
        "--data digits --samples 9 --batch-size 3 --transform unit --arch x --arch-arg n=2 --input 3,8,8 "
        "--unsafe-load --seed 4 --device cpu --max-params 5M --max-drop 1%"
    )
    assert run_here(capsys, "diff", "a.pth", "b.pth", *typed.split()).code == 4
    assert calls == [
        {
            "a": Path("a.pth"), "b": Path("b.pth"), "data": "digits", "samples": 9, "batch_size": 3,
            "transform": "unit", "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",),
            "unsafe_load": True, "seed": 4, "device": "cpu", "progress": None,
            "gates": {"max_params": 5_000_000, "max_drop": 0.01},
        }
    ]  # fmt: skip


def test_a_gate_that_fails_is_exit_4_after_everything_is_said(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    size = difference().b.totals.params
    typed = ("diff", "a.pth", "b.pth", "--report", "d.json", "--report", "d.md", "--report", "d.csv")
    assert run_here(capsys, *typed, "--max-params", size).code == 0
    ran = run_here(capsys, *typed, "--max-params", size - 1, "--force")
    assert ran.code == 4
    assert "FAILED" in ran.out
    assert ran.err.splitlines()[-2].startswith(f"error: --max-params {size - 1:,} parameters is not met")
    assert json.loads(Path("d.json").read_text())["gates"][0]["passed"] is False
    assert f"| --max-params | at most {size - 1:,} parameters | {size:,} parameters | FAILED |" in (
        Path("d.md").read_text()
    )
    rows = list(csv.DictReader(Path("d.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["conv1", "same", "'=gone@"]


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ("a.pth", 2, "missing argument 'B'"),
        ("a.pth x.pth", 2, "no such file: x.pth"),
        ("a.pth b.pth -q --json", 2, "--json and -q"),
        ("a.pth b.pth --data digit", 2, "unknown data source 'digit'"),
        ("a.pth b.pth --min-accuracy 0.9", 2, "--min-accuracy needs labelled data"),
        ("a.json b.pth --max-drop 0.1", 2, "--max-drop needs labelled data"),
        ("a.json b.json --data digits", 2, "--data measures checkpoints, and both are reports"),
        ("a.pth b.pth --report d.txt", 2, "no report of that kind"),
        ("a.pth b.json --report b.json --force", 2, "b.json is one of the two itself"),
        ("a.pth b.pth --report b.json", 2, "b.json exists"),
        ("a.pth b.pth --report no/d.md", 5, "no such directory: no"),
        ("a.pth b.pth --device gpu", 2, "unknown device 'gpu'"),
        ("a.pth b.pth --max-parms 5", 2, "no such option: --max-parms"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    typed: str, code: int, message: str, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "diff", *typed.split())
    assert (ran.code, ran.out, calls) == (code, "", [])
    assert message in ran.err.splitlines()[0]


def test_a_report_needs_no_data_to_be_judged(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run_here(capsys, "diff", "a.pth", "b.json", "--min-accuracy", "0.9")
    assert len(calls) == 1


def test_a_damaged_report_is_one_line_and_exit_3(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "diff", "a.json", "b.json")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[0] == "error: a.json is no report: it is not JSON"

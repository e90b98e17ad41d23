from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runner import run_here
from report_examples import inspection

import prunecli
from prunecli.report.reading import read_report


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    made: list[tuple[Any, dict[str, Any]]] = []

    def fake(path: Path, **options: Any) -> Any:
        made.append((path, options))
        return inspection()

    monkeypatch.setitem(prunecli.__dict__, "inspect", fake)
    return made


def test_layers_groups_and_json(
    calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    ran = run_here(capsys, "inspect", path)
    assert ran.code == 0
    assert "64x3x7x7" in ran.out
    assert ran.err == "note: identified by 320 names\n"
    assert "prunable" in run_here(capsys, "inspect", path, "--groups").out
    options = ("--arch", "x", "--arch-arg", "n=2", "--input", "3,8,8", "--unsafe-load")
    ran = run_here(capsys, "inspect", path, "--json", *options)
    told = json.loads(ran.out)
    assert told.pop("command")[0] == "prune"
    assert told | {"command": []} == inspection().to_json()
    assert calls[-1] == (
        path,
        {
            "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",), "unsafe_load": True, "latency": False,
            "device": "auto", "threads": None, "progress": None,
            "data": None, "samples": None, "transform": None, "seed": 0,
        },
    )  # fmt: skip


def test_latency_is_asked_for(
    calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    assert run_here(capsys, "inspect", path, "--latency", "--threads", "2", "--device", "cpu").code == 0
    options = calls[-1][1]
    assert [options[name] for name in ("latency", "threads", "device")] == [True, 2, "cpu"]
    for wrong in (("--threads", "0"), ("--device", "tpu")):
        ran = run_here(capsys, "inspect", path, "--latency", *wrong)
        assert ran.code == 2
        assert wrong[1] in ran.err.splitlines()[0]
    assert len(calls) == 1


def test_latency_for_real(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "inspect", checkpoint, "--latency", "--threads", "1")
    assert ran.code == 0, ran.err
    (line,) = (line for line in ran.out.splitlines() if line.startswith("latency "))
    assert line.endswith("batch 1, float32, cpu, 1 thread")
    found = json.loads(run_here(capsys, "inspect", checkpoint, "--latency", "--json").out)
    assert found["latency"]["before"]["median"] > 0
    assert len(found["latency"]["layers"]) == len(found["layers"])


def test_zeros_with_and_without_data(
    calls: list[tuple[Any, dict[str, Any]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    assert "near zeros" in run_here(capsys, "inspect", path, "--sparsity").out
    assert "near zeros" not in run_here(capsys, "inspect", path).out
    assert run_here(capsys, "inspect", path, "--data", "noise", "--samples", "8", "--seed", "3").code == 0
    given = {key: calls[-1][1][key] for key in ("data", "samples", "transform", "seed")}
    assert given == {"data": "noise", "samples": 8, "transform": None, "seed": 3}
    for wrong in (
        ["--sparsity", "--groups"],
        ["--samples", "8"],
        ["--transform", "unit"],
        ["--data", "nois"],
    ):
        assert run_here(capsys, "inspect", path, *wrong).code == 2


def test_a_directory_is_rejected_input_and_a_missing_file_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(capsys, "inspect", tmp_path).code == 3
    assert run_here(capsys, "inspect", tmp_path / "missing.pth").code == 2


def test_reports_of_every_kind_have_layers_and_groups(
    calls: list[tuple[Any, dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.pth").write_bytes(b"x")
    typed = ["inspect", "m.pth", *(part for kind in KINDS for part in ("--report", f"r{kind}"))]
    monkeypatch.setattr(sys, "argv", ["prune", *typed])
    ran = run_here(capsys, *typed)
    assert (ran.code, "64x3x7x7" in ran.out) == (0, True)
    told = json.loads(Path("r.json").read_text())
    assert told["command"] == ["prune", *typed]
    assert told | {"command": []} == inspection().to_json()
    assert read_report(Path("r.json")) == replace(inspection(), command=("prune", *typed))
    assert [row["name"] for row in csv.DictReader(Path("r.csv").read_text().splitlines())] == [
        row["name"] for row in told["layers"]
    ]
    for kind in (".md", ".html"):
        text = Path(f"r{kind}").read_text()
        assert all(row["name"] in text for row in (*told["layers"], *told["groups"]))
    assert run_here(capsys, *typed, "--force").code == 0


KINDS = (".json", ".md", ".csv", ".html")


@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        ("--report r.txt", 2, "--report r.txt: no report of that kind"),
        ("--report there.md", 2, "there.md exists"),
        ("--report m.json --force", 2, "m.json is, or belongs to, what is read"),
        ("--report no/r.md", 5, "no such directory: no"),
        ("--reprot r.md", 2, "no such option: --reprot"),
    ],
)
def test_a_report_that_cannot_be_is_found_before_anything_is_read(
    typed: str,
    code: int,
    message: str,
    calls: list[tuple[Any, dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m.json", "there.md"):
        Path(name).write_bytes(b"x")
    ran = run_here(capsys, "inspect", "m.json", *typed.split())
    assert (ran.code, ran.out, calls) == (code, "", [])
    assert message in ran.err.splitlines()[0]
    assert Path("there.md").read_bytes() == Path("m.json").read_bytes() == b"x"

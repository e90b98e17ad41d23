from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import run_here
from report_examples import inspection

import prunecli


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
    assert json.loads(ran.out) == inspection().to_json()
    assert calls[-1] == (
        path,
        {
            "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",), "unsafe_load": True, "latency": False,
            "device": "auto", "threads": None, "progress": None,
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


def test_a_directory_is_rejected_input_and_a_missing_file_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(capsys, "inspect", tmp_path).code == 3
    assert run_here(capsys, "inspect", tmp_path / "missing.pth").code == 2

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gqa
import pytest
import torch
from cli_runner import Ran, run_here
from report_examples import explanation

import prunecli


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    made: list[tuple[Any, ...]] = []

    def fake(*arguments: Any, **options: Any) -> Any:
        made.append((*arguments, options))
        return explanation()

    monkeypatch.setitem(prunecli.__dict__, "explain", fake)
    return made


def test_tables_json_and_names(
    calls: list[tuple[Any, ...]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    ran = run_here(capsys, "explain", path, "layer1.0.conv2")
    assert ran.code == 0
    assert "[out: units of conv1]" in ran.out
    assert ran.err == "note: identified by 320 names\n"
    assert run_here(capsys, "explain", path, "conv1", "-q") == Ran(0, "conv1\n", "")
    options = ("--arch", "x", "--arch-arg", "n=2", "--input", "3,8,8", "--unsafe-load")
    ran = run_here(capsys, "explain", path, "conv1", "--json", *options)
    assert json.loads(ran.out) == explanation().to_json()
    assert calls[-1] == (
        path,
        "conv1",
        {"arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",), "unsafe_load": True},
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.pth", "x"], 2, "no such file: missing.pth"),
        ([".", "x"], 3, "'.' is a directory"),
        (["m.pth", "x", "-q", "--json"], 2, "--json and -q"),
        (["m.pth"], 2, "missing argument 'NAME'"),
        (["m.pth", "x", "--input", "a,b"], 2, "--input 'a,b'"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    arguments: list[str],
    code: int,
    message: str,
    calls: list[tuple[Any, ...]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "m.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    ran = run_here(capsys, "explain", *arguments)
    assert (ran.code, ran.out, calls) == (code, "", [])
    assert ran.err.startswith(f"error: {message}")


def test_a_network_of_ones_own_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(gqa.build().state_dict(), tmp_path / "gqa.pth")
    network = ("--arch", f"{gqa.__file__}:build", "--input", "9,12")
    ran = run_here(capsys, "explain", tmp_path / "gqa.pth", "layers.0.down", *network)
    assert ran.code == 0, ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert ["layers.0.down.weight", "1", "64", "[in:", "units", "of", "layers.0.up]"] in rows
    assert ["layers.0.down", "addmm", "takes", "them", "in"] in rows
    ran = run_here(capsys, "explain", tmp_path / "gqa.pth", "layers.*.up", "-q", *network)
    assert ran == Ran(0, "embed\nlayers.0.up\nlayers.1.up\n", "")
    ran = run_here(capsys, "explain", tmp_path / "gqa.pth", "layers.0.dwn", *network)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: unknown group, layer or parameter 'layers.0.dwn'\n"
        "hint: did you mean layers.0.down or layers.1.down?\n"
    )

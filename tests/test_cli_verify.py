from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Ran, run_here
from report_examples import verification

import prunecli
from prunecli.report.model import Proof, Verification


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    path.write_bytes(b"x")
    return path


def answer(monkeypatch: pytest.MonkeyPatch, found: Verification) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def fake(path: Path, **options: Any) -> Verification:
        calls.append({"path": path, **options})
        return found

    monkeypatch.setitem(prunecli.__dict__, "verify", fake)
    return calls


def test_all_proofs_hold(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answer(monkeypatch, verification())
    dense = out.with_name("dense.pth")
    dense.write_bytes(b"x")
    ran = run_here(capsys, "verify", out, "--against", dense, "--arch", "x")
    assert ran.code == 0
    assert ran.out.count(" pass ") == 2
    assert calls == [{"path": out, "against": dense, "arch": "x", "unsafe_load": False}]
    assert json.loads(run_here(capsys, "verify", out, "--json").out)["passed"] is True
    assert run_here(capsys, "verify", out, "-q") == Ran(0, f"{out}\n", "")


def test_a_failed_proof_is_exit_4_after_the_table(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(
        monkeypatch, verification(Proof("reload", True), Proof("digests", False, detail="tensor 'a' differs"))
    )
    ran = run_here(capsys, "verify", out)
    assert ran.code == 4
    assert "FAIL" in ran.out
    assert ran.err.splitlines()[-2:] == [
        f"error: {out}: 1 of 2 proofs failed: digests",
        "hint: tensor 'a' differs",
    ]
    assert run_here(capsys, "verify", out, "-q").out == ""
    assert json.loads(run_here(capsys, "verify", out, "--json").out)["passed"] is False


def test_both_files_must_be_there(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "verify", out.with_name("missing.safetensors")).code == 2
    assert run_here(capsys, "verify", out, "--against", out.with_name("missing.pth")).code == 2
    assert run_here(capsys, "verify", out, "--against", out.parent).code == 3

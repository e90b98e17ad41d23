from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import run_fresh, run_here
from resnet8 import digest

import prunecli

TINY = ("--data", "digits", "--samples", "60", "--epochs", "2", "--batch-size", "20")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ((), "no regularizer given"),
        (("--sparsify", "grop-lasso"), "unknown regularizer 'grop-lasso'"),
        (("--sparsify", "greg-1"), "no target given"),
        (("--sparsify", "greg-2", "--speedup", "2", "--ratio", "0.5"), "one target at a time"),
        (("--sparsify", "greg-1", "--speedup", "0.5"), "--speedup"),
        (("--sparsify", "group-norm", "--speedup", "2"), "whatever is cut later"),
        (("--sparsify", "group-norm", "--sparsify-arg", "alpha"), "is not K=NUMBER"),
        (("--sparsify", "group-norm", "--sparsify-arg", "alpha=inf"), "is not K=NUMBER"),
    ],
)
def test_wrong_usage_is_one_line(
    typed: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(b"x")
    ran = run_here(capsys, "sparsify", "m.pth", *typed, *TINY)
    assert ran.code == 2
    assert said in ran.err.splitlines()[0]
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


def test_the_whole_way(checkpoint: Path, tmp_path: Path) -> None:
    before, out = digest(checkpoint), tmp_path / "s.safetensors"
    ran = run_fresh(
        "sparsify",
        checkpoint,
        "-o",
        out,
        "--sparsify",
        "greg-1",
        "--ratio",
        "0.3",
        "--scheme",
        "local",
        *TINY,
    )
    assert ran.code == 0, ran.err
    assert "greg-1" in ran.out
    assert digest(checkpoint) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "s.events", "s.json", "s.metrics.jsonl", "s.plan.json", "s.safetensors",
    ]  # fmt: skip
    report = json.loads((tmp_path / "s.json").read_text())
    assert report["sparsity"]["target"] == "--ratio 0.3"
    assert report["sparsity"]["told"]["converged"] is False
    cut = run_fresh(
        "run", out, "--plan", tmp_path / "s.plan.json", "-o", tmp_path / "cut.safetensors", "--repair", "none"
    )
    assert cut.code == 0, cut.err
    dense, small = prunecli.load(out), prunecli.load(tmp_path / "cut.safetensors")
    sizes = [sum(p.numel() for p in net.parameters()) for net in (dense, small)]
    assert sizes[1] < sizes[0]

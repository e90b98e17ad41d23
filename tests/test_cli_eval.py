from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Ran, run_here
from pictures import class_folders, write
from report_examples import evaluation, full_evaluation

import prunecli
from prunecli.report.figures import Quality
from prunecli.report.measured import Evaluation


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    return path


def answer(monkeypatch: pytest.MonkeyPatch, found: Evaluation) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def fake(path: Path, **options: Any) -> Evaluation:
        calls.append({"path": path, **options})
        return found

    monkeypatch.setitem(prunecli.__dict__, "evaluate", fake)
    return calls


def test_a_table_one_document_or_one_figure(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answer(monkeypatch, evaluation())
    ran = run_here(capsys, "eval", path, "--data", "digits")
    assert ran.code == 0
    assert "75.50%" in ran.out
    assert ran.err.splitlines() == [
        "note: identified by 320 names",
        "note: pictures as --transform imagenet makes them",
    ]
    assert run_here(capsys, "eval", path, "--data", "digits", "-q") == Ran(0, "0.755\n", "")
    ran = run_here(capsys, "eval", path, "--data", "digits", "--json")
    told = json.loads(ran.out)
    assert told.pop("command")[0] == "prune"
    assert told | {"command": []} == evaluation().to_json()
    assert [call["data"] for call in calls] == ["digits"] * 3


@pytest.mark.parametrize(
    ("quality", "printed"),
    [(Quality(9, agreement=0.5, error=0.1), "0.5\n"), (Quality(9, error=0.125), "0.125\n")],
)
def test_the_one_figure_without_labels(
    quality: Quality,
    printed: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from dataclasses import replace

    answer(monkeypatch, replace(evaluation(), quality=quality))
    assert run_here(capsys, "eval", path, "--data", "noise", "-q").out == printed


def test_options_are_handed_on(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = answer(monkeypatch, evaluation())
    typed = "--data digits --samples 9 --batch-size 3 --transform unit --arch x --arch-arg n=2"
    options = f"{typed} --input 3,8,8 --seed 4 --device cpu".split()
    assert run_here(capsys, "eval", path, *options, "--against", path).code == 0
    assert calls == [
        {
            "path": path, "data": "digits", "samples": 9, "batch_size": 3, "transform": "unit",
            "against": path, "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",), "seed": 4,
            "device": "cpu", "progress": None,
        }
    ]  # fmt: skip


def test_reports_are_written_also_where_a_gate_fails(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    calls = answer(monkeypatch, full_evaluation())
    kinds = (".json", ".md", ".csv", ".html")
    typed = [part for kind in kinds for part in ("--report", f"r{kind}")]
    ran = run_here(capsys, "eval", path, "--data", "digits", *typed, "--max-params", "5")
    assert (ran.code, len(calls)) == (4, 1)
    assert "FAILED" in ran.out
    assert json.loads(Path("r.json").read_text()) | {"command": []} == (
        full_evaluation().to_json() | {"command": []}
    )
    text = Path("r.md").read_text()
    limit = "| --max-params | at most 10,000,000 parameters | 12,700,100 parameters | FAILED |"
    assert text.index(limit) < text.index("75.50%")
    assert Path("r.csv").read_text().splitlines()[2].startswith("this,200,0.755,")
    assert "--max-params" in Path("r.html").read_text()
    ran = run_here(capsys, "eval", path, "--data", "digits", "--report", "r.md")
    assert (ran.code, len(calls)) == (2, 1)
    assert run_here(capsys, "eval", path, "--data", "digits", "--report", "r.md", "--force").code == 4


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("m.pth", "no data given", "like --data imagefolder:DIR"),
        ("m.pth --data digit", "unknown data source 'digit'", "did you mean digits?"),
        ("m.pth --data torchvision:FashionMINST:x", "unknown set", "did you mean FashionMNIST"),
        ("m.pth --data digits --transform imagnet", "unknown transform", "did you mean imagenet?"),
        (
            "m.pth --data digits --samples 0",
            "--samples 0 is out of range",
            "--samples is a whole number from 1",
        ),
        (
            "m.pth --data digits --batch-size -1",
            "--batch-size -1 is out of range",
            "--batch-size is a whole number from 1",
        ),
        ("m.pth --data digits --device gpu", "unknown device 'gpu'", "did you mean cpu?"),
        ("m.pth --data digits -q --json", "--json and -q", "give one of them"),
        ("m.pth --data digits --report r.txt", "no report of that kind", "known endings: .json"),
        ("m.pth --data digits --report there.md", "there.md exists", "--force replaces it, --report"),
        ("m.pth --data digits --against there.md --force --report there.md", "there.md is, or", "choose"),
        ("x.pth --data digits", "no such file: x.pth", "check the path"),
        ("m.pth --data digits --against x.pth", "no such file: x.pth", "check the path"),
        ("m.pth --data digits --dta", "no such option: --dta", "did you mean --data?"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    arguments: str,
    message: str,
    hint: str,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path.parent)
    Path("there.md").write_bytes(b"x")
    calls = answer(monkeypatch, evaluation())
    ran = run_here(capsys, "eval", *arguments.split())
    assert (ran.code, ran.out, calls) == (2, "", [])
    first, second = ran.err.splitlines()
    assert message in first
    assert second.startswith(f"hint: {hint}")


def bad_data(root: Path) -> None:
    class_folders(root / "good")
    (root / "empty").mkdir()
    class_folders(root / "damaged")
    (root / "damaged" / "ant" / "0.png").write_bytes(b"no picture")
    images = np.zeros((4, 3, 32, 32), np.float32)
    np.savez(root / "good.npz", x=images, y=[0, 1, 2, 9])
    np.savez(root / "beyond.npz", x=images, y=[0, 1, 2, 10])
    np.savez(root / "nan.npz", x=np.full_like(images, np.nan), y=[0, 1, 2, 3])
    np.savez(root / "channels.npz", x=images[:, :2], y=[0, 1, 2, 3])
    np.savez(root / "none.npz", x=images[:0], y=[])
    np.savez(root / "objects.npz", x=np.array([{}, None], dtype=object))
    write(root / "flat" / "a.png")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("imagefolder:missing", "image folder 'missing' is not there"),
        ("imagefolder:empty", "image folder 'empty' has no images"),
        ("imagefolder:damaged", "1 of 9 images could not be read: ant/0.png"),
        ("torchvision:CIFAR10:empty", "torchvision's CIFAR10 could not be opened"),
        ("npz:missing.npz", "no such file: 'missing.npz'"),
        ("npz:beyond.npz", "the data has label 10, the network 10 classes"),
        ("npz:nan.npz", "input of npz:nan.npz holds NaN or Inf at sample 0"),
        ("npz:channels.npz", "input of npz:channels.npz is [N, 2, 32, 32], the network takes [N, 3, 32, 32]"),
        ("npz:none.npz", "npz:none.npz has no samples"),
        ("npz:objects.npz", "'objects.npz' holds pickled objects, which are not read"),
        ("safetensors:good.npz", "'good.npz' could not be read"),
    ],
)
def test_bad_data_is_one_line_and_exit_3(
    data: str,
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    bad_data(tmp_path)
    ran = run_here(capsys, "eval", checkpoint, "--data", data)
    assert (ran.code, ran.out) == (3, "")
    first, second = ran.err.splitlines()
    assert first.startswith(f"error: {message}")
    assert second.startswith("hint: ")


@pytest.mark.parametrize(("data", "samples"), [("imagefolder:good", 9), ("npz:good.npz", 4)])
def test_its_good_twin_is_measured(
    data: str,
    samples: int,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    bad_data(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    ran = run_here(capsys, "eval", checkpoint, "--data", data, "--json")
    assert ran.code == 0
    told = json.loads(ran.out)
    assert told["schema"] == "prunecli.eval/1"
    assert told["quality"]["samples"] == told["data"]["samples"] == samples
    assert sorted(tmp_path.rglob("*")) == before


def test_pictures_without_labels_need_a_network_to_compare_with(
    checkpoint: Path,
    saved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / "a.png")
    command = ("eval", saved, "--data", f"imagefolder:{tmp_path}")
    ran = run_here(capsys, *command)
    assert ran.code == 2
    assert ran.err.splitlines()[-1] == "hint: --against DENSE"
    ran = run_here(capsys, *command, "--against", checkpoint)
    assert ran.code == 0
    assert "output error" in ran.out
    assert str(tmp_path) not in ran.out

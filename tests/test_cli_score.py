from __future__ import annotations

import csv
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import Ran, run_fresh, run_here
from report_examples import scoring

import prunecli
from prunecli.scoring import score


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "m.pth"
    path.write_bytes(b"x")
    return path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []

    def fake(*arguments: Any, **options: Any) -> Any:
        made.append(dict(inspect.signature(score).bind(*arguments, **options).arguments))
        return scoring()

    monkeypatch.setitem(prunecli.__dict__, "score", fake)
    return made


def test_tables_one_document_or_bare_rows(
    path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "score", path)
    assert ran.code == 0
    assert "taylor   reduce sum, normalize none, loss cross-entropy" in ran.out
    assert "rank correlation" not in ran.out
    assert ran.err.splitlines() == [
        "note: identified by 320 names",
        "note: pictures as --transform imagenet makes them",
    ]
    ran = run_here(capsys, "score", path, "--criterion", "lamp,random", "--correlate")
    assert "rank correlation inside groups" in ran.out
    ran = run_here(capsys, "score", path, "--json")
    assert json.loads(ran.out) == scoring().to_json()
    ran = run_here(capsys, "score", path, "-q")
    assert ran.err == ""
    assert ran.out.splitlines()[:2] == ["conv1\t0\ttaylor\t0.5", "conv1\t1\ttaylor\t2"]
    assert len(ran.out.splitlines()) == len(list(scoring().rows))


def test_defaults_are_those_of_the_api(
    path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(capsys, "score", path).code == 0
    (call,) = calls
    assert call.pop("model_or_path") == path
    assert call.pop("arch_args") == {}
    defaults = inspect.signature(score).parameters
    assert call == {name: defaults[name].default for name in call}


def test_every_option_reaches_the_api(
    path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (
        "--criterion taylor,lamp,taylor --data digits --samples 9 --transform unit --loss kd --temperature 4 "
        "--reduce max --normalize none --only a.* --only b --ignore c --memory 1GB --arch x --arch-arg n=2 "
        "--input 3,8,8 --seed 4 --device cpu --threads 2 --unsafe-load"
    )
    ran = run_here(capsys, "score", path, *typed.split(), "--against", path)
    assert ran.code == 0, ran.err
    (call,) = calls
    assert {key: value for key, value in call.items() if key not in ("model_or_path", "progress")} == {
        "criteria": ("taylor", "lamp"), "data": "digits", "samples": 9, "transform": "unit", "loss": "kd",
        "temperature": 4.0, "reduce": "max", "normalize": "none", "only": ("a.*", "b"), "ignore": ("c",),
        "memory": 1 << 30, "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",), "seed": 4,
        "device": "cpu", "threads": 2, "unsafe_load": True, "against": path,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("m.pth --criterion tailor", "unknown criterion 'tailor'", "did you mean taylor?"),
        ("m.pth --criterion lamp,,random", "unknown criterion ''", "known: "),
        (
            "m.pth --criterion lamp,taylor",
            "criterion 'taylor' needs data",
            "--data SPEC, like --data imagefolder:DIR; --data noise works too",
        ),
        ("m.pth --criterion taylor --data digits --loss kd", "--loss kd compares", "--against DENSE"),
        ("m.pth --criterion taylor --data digits --against m.pth", "--against is given", "--loss kd"),
        (
            "m.pth --criterion cp --data digits --loss mse",
            "no criterion here has a loss",
            "--criterion taylor",
        ),
        ("m.pth --criterion taylor --data digits --loss msee", "unknown loss 'msee'", "did you mean mse?"),
        ("m.pth --criterion taylor --data digits --loss x.py:2", "unknown loss 'x.py:2'", "known: "),
        ("m.pth --temperature 5", "--temperature 5 is given, and no criterion", "--criterion taylor has one"),
        ("m.pth --loss mse --temperature 5", "--temperature divides the scores of classes", "leave it out"),
        ("m.pth --temperature 0", "--temperature 0 is out of range", "--temperature is a number above 0"),
        ("m.pth --temperature nan", "--temperature nan is out of range", "--temperature is a number above 0"),
        ("m.pth --correlate", "--correlate compares two criteria", "like --criterion"),
        ("m.pth --reduce summ", "unknown reduction 'summ'", "did you mean sum?"),
        ("m.pth --normalize gausian", "unknown normalization", "did you mean gaussian?"),
        ("m.pth --data digit", "unknown data source 'digit'", "did you mean digits?"),
        ("m.pth --samples 0", "--samples 0 is out of range", "--samples is a whole number from 1"),
        ("m.pth --memory 1kB", "--memory 1024 is out of range", "--memory is at least"),
        ("m.pth --seed -1", "--seed -1 is out of range", "--seed is a whole number"),
        ("m.pth --threads 0", "--threads 0 is out of range", "--threads is a whole number"),
        ("m.pth --device gpu", "unknown device 'gpu'", "did you mean cpu?"),
        ("m.pth --report s.md", "--report s.md: no report of that kind", "known endings: .json, .csv"),
        ("m.pth --report there.csv", "there.csv exists", "--force replaces it"),
        ("m.pth -q --json", "--json and -q", "give one of them"),
        ("x.pth", "no such file: x.pth", "check the path"),
        ("m.pth --criterion taylor --data digits --loss kd --against x.pth", "no such file: x.pth", "check"),
        ("m.pth --criteria lamp", "no such option: --criteria", "did you mean --criterion?"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    arguments: str,
    message: str,
    hint: str,
    path: Path,
    calls: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path.parent)
    Path("there.csv").write_text("")
    ran = run_here(capsys, "score", *arguments.split())
    assert (ran.code, ran.out, calls) == (2, "", [])
    first, second = ran.err.splitlines()
    assert message in first
    assert second.startswith(f"hint: {hint}")


def test_reports_are_written_and_replaced_only_by_force(
    path: Path, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path.with_name(name) for name in ("s.json", "s.csv")]
    options = [word for file in files for word in ("--report", file)]
    assert run_here(capsys, "score", path, *options).code == 0
    assert json.loads(files[0].read_text()) == scoring().to_json()
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"group": "conv1", "unit": "0", "criterion": "taylor", "score": "0.5"}
    assert run_here(capsys, "score", path, *options).code == 2
    assert run_here(capsys, "score", path, *options, "--force").code == 0
    ran = run_here(capsys, "score", path, "--report", path.parent / "none" / "s.csv")
    assert ran.code == 5


def test_a_checkpoint_for_real_in_a_fresh_process(checkpoint: Path, tmp_path: Path) -> None:
    options = ("--criterion", "magnitude-l2,taylor,hrank", "--data", "digits", "--samples", "6")
    ran = run_fresh("score", checkpoint, *options, "--correlate", COLUMNS="80")
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    assert str(checkpoint.parent) not in ran.out
    assert re.search(r"^data +digits, 6 samples$", ran.out, flags=re.MULTILINE)
    bare = run_fresh("score", checkpoint, *options, "-q", "--report", tmp_path / "s.csv")
    assert (bare.code, bare.err) == (0, "")
    rows = [line.split("\t") for line in bare.out.splitlines()]
    with (tmp_path / "s.csv").open(newline="") as file:
        written = list(csv.reader(file))[1:]
    assert [row[:3] for row in rows] == [row[:3] for row in written]
    assert [float(row[3]) for row in rows] == pytest.approx([float(row[3]) for row in written], rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--criterion", "taylor", "--data", "npz:missing.npz"], 3, "no such file: 'missing.npz'"),
        (["--only", "layer9.*"], 2, "--only layer9.* matches no layer"),
        (["--criterion", "taylor", "--data", "noise", "--loss", "own.py:zero"], 4, "zero"),
        (["--criterion", "taylor", "--data", "noise", "--loss", "own.py:many"], 3, "not one number"),
        (["--criterion", "taylor", "--data", "noise", "--loss", "own.py:absent"], 2, "unknown function"),
        (["--criterion", "taylor", "--data", "noise", "--loss", "none.py:f"], 2, "no such file"),
    ],
)
def test_what_goes_wrong_later_is_one_line(
    arguments: list[str],
    code: int,
    message: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    functions = "def zero(y, labels): return (y * 0).sum()\ndef many(y, labels): return y\n"
    Path("own.py").write_text(functions)
    ran = run_here(capsys, "score", checkpoint, "--samples", "4", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err.splitlines()[0]


def test_a_loss_of_ones_own_is_named_without_its_folder(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.py").write_text("def first(y, labels): return y[:, 0].mean()\n")
    options = ("--criterion", "loss-preservation", "--data", "noise", "--samples", "4")
    ran = run_here(capsys, "score", checkpoint, *options, "--loss", f"{tmp_path / 'own.py'}:first", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["criteria"][0]["loss"] == "own.py:first"
    assert str(tmp_path) not in ran.out


def test_a_network_without_groups_prints_no_empty_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\ndef make(): return nn.Linear(3, 2)\n")
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "n.pth")
    network = ("--arch", f"{tmp_path / 'net.py'}:make", "--input", "3")
    assert run_here(capsys, "score", tmp_path / "n.pth", *network, "-q") == Ran(0, "", "")
    ran = run_here(capsys, "score", tmp_path / "n.pth", *network)
    assert ran.code == 0
    assert "0 groups, 0 units" in ran.out

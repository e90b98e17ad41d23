from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Ran, run_fresh, run_here
from report_examples import finetuning as example
from resnet8 import digest

import prunecli
from prunecli.errors import ImpossibleError, OutputError

TINY = ("--data", "digits", "--samples", "40", "--epochs", "2", "--batch-size", "20")


class Fake:
    """Stands in for the training; what ``prunecli.finetune`` gives."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.saved: list[tuple[Path, bool]] = []
        self.raised: Exception | None = None

    def __call__(self, path: Path, **options: Any) -> Fake:
        told = options.pop("on_epoch")
        self.calls.append({"path": path, **options})
        if self.raised is not None:
            raise self.raised
        for row in example().epochs:
            told(row)
        return self

    def save(self, path: Path, *, force: bool) -> prunecli.Finetuning:
        self.saved.append((path, force))
        return example()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    found = Fake()
    monkeypatch.setitem(prunecli.__dict__, "finetune", found)
    return found


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(b"x")
    return tmp_path / "m.pth"


def test_a_table_one_document_or_the_path(path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "finetune", path, "--data", "digits", "--epochs", "3")
    assert ran.code == 0
    assert "small.finetuned.safetensors" in ran.out
    lines = ran.err.splitlines()
    assert lines[0].startswith("epoch 1 of 3: loss 1.5, top-1 50.00% in training, 25.00% after it")
    assert [line[:5] for line in lines] == ["epoch"] * 3 + ["note:"] * 2
    out = path.with_name("m.finetuned.safetensors")
    assert fake.saved == [(out, False)]
    report = path.with_name("m.finetuned.json")
    told = json.loads(report.read_text())
    assert told["schema"] == "prunecli.finetune/1"
    assert told["command"][0] == "prune"
    report.unlink()
    ran = run_here(capsys, "finetune", path, "--data", "digits", "-q")
    assert ran == Ran(0, f"{out}\n", "")
    report.unlink()
    ran = run_here(capsys, "finetune", path, "--data", "digits", "--json")
    found = json.loads(ran.out)
    assert found == replace(example(), command=tuple(found["command"])).to_json()


def test_options_are_handed_on(path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    typed = (
        "--data digits --eval-data npz:x.npz --samples 9 --transform unit --augment crop --epochs 9 "
        "--batch-size 4 --optimizer adamw --lr 0.1 --momentum 0.5 --weight-decay 0.2 --schedule cosine "
        "--milestones 3,5 --warmup 1 --clip 2 --ema 0.9 --patience 3 --recalibrate --loss mse "
        "--label-smoothing 0.1 --against m.pth --distill 0.7 --distill-temperature 2 --arch x --arch-arg n=2 "
        "--input 3,8,8 --save-minutes 0.5 --amp bf16 --channels-last --device cpu --seed 4 --threads 1 "
        "--no-latency -o out.safetensors --report a.json"
    )
    assert run_here(capsys, "finetune", path, *typed.split()).code == 0
    (call,) = fake.calls
    assert call.pop("progress") is None
    assert call == {
        "path": path, "data": "digits", "eval_data": "npz:x.npz", "samples": 9, "transform": "unit",
        "augment": "crop", "epochs": 9, "batch_size": 4, "optimizer": "adamw", "lr": 0.1, "momentum": 0.5,
        "weight_decay": 0.2, "schedule": "cosine", "milestones": (3, 5), "warmup": 1, "clip": 2.0, "ema": 0.9,
        "patience": 3, "recalibrate": True, "loss": "mse", "label_smoothing": 0.1, "against": Path("m.pth"),
        "distill": 0.7, "distill_temperature": 2.0, "arch": "x", "arch_args": {"n": 2}, "inputs": ("3,8,8",),
        "unsafe_load": False, "resume": False, "save_seconds": 30.0, "amp": "bf16", "channels_last": True,
        "device": "cpu", "seed": 4, "threads": 1, "latency": False, "state": Path("out.state.pt"),
        "metrics": Path("out.metrics.jsonl"),
    }  # fmt: skip
    assert sorted(item.name for item in path.parent.iterdir()) == ["a.json", "m.pth"]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("m.pth", "no data given", "like --data imagefolder:DIR"),
        ("m.pth --data digit", "unknown data source 'digit'", "did you mean digits?"),
        ("m.pth --data digits --eval-data digit", "unknown data source 'digit'", "did you mean digits?"),
        ("m.pth --data digits --epochs 0", "--epochs 0 is out of range", "--epochs is"),
        ("m.pth --data digits --optimizer sdg", "unknown optimizer 'sdg'", "did you mean sgd?"),
        ("m.pth --data digits --augment corp", "unknown augment 'corp'", "did you mean crop?"),
        ("m.pth --data digits --milestones 6,x", "--milestones 6,x are no epochs", "like --milestones 60,80"),
        ("m.pth --data digits --loss mes", "unknown loss 'mes'", "did you mean mse?"),
        ("m.pth --data noise --patience 2", "--patience needs data to measure on", "--eval-data"),
        (
            "m.pth --data digits --save-minutes nan",
            "--save-minutes nan is out of range",
            "--save-minutes is a number of minutes",
        ),
        ("m.pth --data digits --threads 0", "--threads 0 is out of range", "--threads is"),
        ("m.pth --data digits -q --json", "--json and -q", "give one of them"),
        ("x.pth --data digits", "no such file: x.pth", "check the path"),
        ("m.pth --data digits --against x.pth", "no such file: x.pth", "check the path"),
        ("m.pth --data digits --resume", "there is no state to resume from", "leave --resume out"),
        ("m.pth --data digits -o old.safetensors", "old.safetensors exists", "--force replaces it"),
        ("m.pth --data digits -o stopped.safetensors", "stopped.state.pt is the state of a run", "--resume"),
        ("m.pth --data digits -o counted.safetensors", "counted.metrics.jsonl exists", "--force replaces it"),
        (
            "m.pth --data digits -o out.pth",
            "out.pth: the output is a .safetensors file",
            "-o out.safetensors",
        ),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    arguments: str, message: str, hint: str, path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("old.safetensors", "stopped.state.pt", "counted.metrics.jsonl"):
        path.with_name(name).write_bytes(b"x")
    ran = run_here(capsys, "finetune", *arguments.split())
    assert (ran.code, ran.out, fake.calls) == (2, "", [])
    first, second = ran.err.splitlines()
    assert message in first
    assert second.startswith(f"hint: {hint}")


def test_what_is_there_is_replaced_or_gone_on_with_when_asked(
    path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    path.with_name("stopped.state.pt").write_bytes(b"x")
    path.with_name("stopped.metrics.jsonl").write_bytes(b"x")
    command = ("finetune", path, "--data", "digits", "-o", "stopped.safetensors")
    assert run_here(capsys, *command, "--resume").code == 0
    assert run_here(capsys, *command, "--force").code == 0
    assert [call["resume"] for call in fake.calls] == [True, False]
    assert [force for _, force in fake.saved] == [False, True]


@pytest.mark.parametrize(("error", "code"), [(ImpossibleError("diverged"), 4), (OutputError("full"), 5)])
def test_a_run_that_ends_badly_is_one_line(
    error: Exception, code: int, path: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.raised = error
    ran = run_here(capsys, "finetune", path, "--data", "digits")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchrun starts the second of two processes."""
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)


def test_of_several_processes_the_first_alone_writes_and_tells(
    path: Path, fake: Fake, capsys: pytest.CaptureFixture[str], second: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path.parent / "m.finetuned.state.pt").write_bytes(b"written by the first meanwhile")
    assert run_here(capsys, "finetune", path, "--data", "digits") == Ran(0, "", "")
    assert len(fake.calls) == 1
    assert not list(path.parent.glob("*.json"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("LOCAL_RANK", "0")
    ran = run_here(capsys, "finetune", path, "--data", "digits")
    assert ran.code == 2
    assert "m.finetuned.state.pt is the state of a run that was stopped" in ran.err


@pytest.mark.parametrize("wrong", ["--epochs 0", "--epochz 3", "--data digit", "--device gpu"])
def test_of_several_processes_the_first_alone_says_what_is_wrong(
    wrong: str, path: Path, fake: Fake, capsys: pytest.CaptureFixture[str], second: None
) -> None:
    ran = run_here(capsys, "finetune", path, "--data", "digits", *wrong.split())
    assert (ran.out, ran.err, fake.calls) == ("", "", [])
    assert ran.code != 0


def test_the_whole_way(saved: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.safetensors"
    ran = run_fresh("finetune", saved, *TINY, "--against", checkpoint, "-o", out, "-q")
    assert ran == Ran(0, f"{out}\n", "")
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "tuned.events", "tuned.json", "tuned.metrics.jsonl", "tuned.safetensors",
    ]  # fmt: skip
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["output"]["digest"] == digest(out)
    assert str(tmp_path) not in json.dumps({**report, "command": []})
    assert len((tmp_path / "tuned.metrics.jsonl").read_text().splitlines()) == 2


def test_damaged_pictures_are_one_line_and_exit_3(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data" / "ant").mkdir(parents=True)
    (tmp_path / "data" / "bee").mkdir()
    (tmp_path / "data" / "ant" / "0.png").write_bytes(b"no picture")
    out = tmp_path / "out.safetensors"
    ran = run_here(capsys, "finetune", saved, "--data", f"imagefolder:{tmp_path / 'data'}", "-o", out)
    assert (ran.code, ran.out, out.exists()) == (3, "", False)
    assert "1 of 1 image could not be read: ant/0.png" in ran.err.splitlines()[0]


def test_divergence_is_one_line_exit_4_and_nothing_written(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    ran = run_here(capsys, "finetune", saved, *TINY, "--lr", "1e30", "-o", out, "-q")
    assert (ran.code, ran.out, out.exists()) == (4, "", False)
    assert ran.err.startswith("error: training diverged: the loss is not finite in epoch 1, step 2 of 2")

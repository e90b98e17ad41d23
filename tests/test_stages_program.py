"""``prune run`` with training: from a checkpoint to a file, one report, and what stops it on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import Ran, run_fresh
from resnet8 import digest, same_tensors

import prunecli
from prunecli.checkpoint.reading import read
from prunecli.errors import UsageError
from prunecli.report.epochs import EpochRow

DEMO = Path(prunecli.__file__).parent / "demo" / "digits_resnet8.safetensors"
QUICK: dict[str, Any] = {
    "inputs": ("1,8,8",), "speedup": 8, "data": "digits", "samples": 64, "repair": "bn", "threads": 1,
    "finetune_epochs": 2, "finetune_args": {"batch_size": 64, "samples": 400},
}  # fmt: skip


def test_the_whole_way_is_one_report(tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    ran = run_fresh(
        "run", DEMO, "--input", "1,8,8", "--speedup", "8", "--data", "digits", "--repair", "bn",
        "--finetune-epochs", "4",
        "--finetune-arg", "batch-size=64", "-o", out, "-q",
    )  # fmt: skip
    assert ran == Ran(0, f"{out}\n", "")
    names = sorted(item.name for item in tmp_path.iterdir())
    assert names == ["small.json", "small.metrics.jsonl", "small.safetensors"]
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["schema"] == "prunecli.report/1"
    assert list(report["quality"]) == ["dense", "cut", "repaired", "finetuned"]
    good = {name: quality["top1"] for name, quality in report["quality"].items()}
    assert good["dense"] > 0.98
    assert good["cut"] < good["repaired"] < good["finetuned"]
    (stage,) = report["training"]
    assert (stage["name"], stage["distilled"], stage["settings"]["batch_size"]) == ("finetuned", True, 64)
    assert [row["epoch"] for row in stage["epochs"]] == [1, 2, 3, 4]
    assert stage["seconds"] == pytest.approx(sum(row["seconds"] for row in stage["epochs"]))
    assert stage["epochs"][-1]["quality"]["top1"] == good["finetuned"]
    assert prunecli.evaluate(out, data="digits").quality.top1 == good["finetuned"]
    verified = prunecli.verify(out, against=DEMO)
    assert verified.passed
    assert verified.changed_by == ("repair bn", "finetune")
    recipe = read(out).recipe
    assert recipe is not None
    assert (recipe.options["finetune.epochs"], recipe.options["speedup"]) == (4, 8)


def test_it_is_what_the_two_commands_do(tmp_path: Path, no_reload: None) -> None:
    """The cut is that of ``prune``, and the training that of ``finetune`` on its file."""
    whole = prunecli.prune(DEMO, **QUICK)
    cut = {name: value for name, value in QUICK.items() if not name.startswith("finetune")}
    prunecli.prune(DEMO, **cut).save(tmp_path / "cut.safetensors")
    apart = prunecli.finetune(
        tmp_path / "cut.safetensors",
        data="digits",
        against=DEMO,
        threads=1,
        epochs=2,
        **QUICK["finetune_args"],
    )
    assert same_tensors(whole.model.state_dict(), apart.model.state_dict())
    (stage,) = whole.report.training
    assert [row.loss for row in stage.epochs] == [row.loss for row in apart.report.epochs]


def test_without_repair_and_without_a_test_part() -> None:
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 10
    from prunecli.data.samples import Batch, Samples
    from prunecli.inputs import Inputs

    samples = Samples((Batch(Inputs((images,)), labels),), "made up", classes=10)
    found = prunecli.prune(DEMO, **{**QUICK, "data": samples, "samples": None, "repair": "none"}).report
    assert found.quality == {}
    assert any(note.startswith("no figures but those of training") for note in found.notes)
    assert len(found.training[0].epochs) == 2


def test_a_stopped_run_goes_on(tmp_path: Path, no_reload: None) -> None:
    kept = {"state": tmp_path / "s.pt", **QUICK}

    def stop(_: EpochRow) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prunecli.prune(DEMO, **kept, on_epoch=stop)
    for other, message in (
        ({"criterion": "magnitude-l1"}, "the state is of another run: --criterion was magnitude-l2"),
        ({"speedup": 4}, "the state is of another run: --speedup was 8"),
        ({"finetune_args": {"lr": 1.0}}, "the state is of another run: --batch-size times processes was 64"),
        ({"repair": "none"}, "the state is of another run: --memory was"),
    ):
        with pytest.raises(UsageError, match=message):
            prunecli.prune(DEMO, **{**kept, **other}, resume=True)
    found = prunecli.prune(DEMO, **kept, resume=True)
    assert same_tensors(found.model.state_dict(), prunecli.prune(DEMO, **QUICK).model.state_dict())
    found.save(tmp_path / "out.safetensors")
    assert not (tmp_path / "s.pt").exists()


def test_killed_at_any_time_the_file_is_the_same(tmp_path: Path) -> None:
    def command(out: Path, *more: str) -> list[str]:
        text = (
            "--input 1,8,8 --speedup 8 --data digits --repair bn --finetune-epochs 12 --save-minutes 0 -q "
            "--finetune-arg batch-size=32 --finetune-arg augment=crop --threads 1"
        )
        return [sys.executable, "-m", "prunecli", "run", str(DEMO), *text.split(), "-o", str(out), *more]

    whole, out = tmp_path / "whole.safetensors", tmp_path / "out.safetensors"
    subprocess.run(command(whole), check=True, capture_output=True)
    state, resume, kills = tmp_path / "out.state.pt", [], 0
    for wait in (0.2, 0.9):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(command(out, *resume), stdout=subprocess.DEVNULL)
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.02)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        resume = ["--resume"]
    assert kills == 2
    subprocess.run(command(out, *resume), check=True, capture_output=True)
    assert digest(out) == digest(whole)
    assert not state.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"finetune_epochs": None}, "nothing is trained here"),
        ({"data": None, "samples": None}, "training needs data"),
        ({"eval_data": "digit"}, "unknown data source"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prunecli.prune(DEMO, **{**QUICK, **given})

"""``prune run`` with training: from a checkpoint to a file, one report, and what stops it on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runner import Ran, run_fresh
from resnet8 import digest, same_tensors
from test_training_distributed import TWO, finish, start

import prunecli
from prunecli import api
from prunecli.checkpoint.reading import read
from prunecli.errors import UsageError
from prunecli.training.distributed import Team
from prunecli.training.state import read_state

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
    assert names == ["small.events", "small.json", "small.metrics.jsonl", "small.safetensors"]
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

    def stop(*_: object) -> None:
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
        ({"finetune_epochs": None}, "--finetune-arg is given, and nothing is trained"),
        ({"finetune_epochs": None, "finetune_args": None, "resume": True}, "nothing is trained here"),
        ({"data": None, "samples": None}, "--finetune-epochs needs data"),
        ({"eval_data": "digit"}, "unknown data source"),
    ],
)
def test_what_does_not_go_together(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prunecli.prune(DEMO, **{**QUICK, **given})


BEFORE: dict[str, Any] = {
    "inputs": ("1,8,8",), "speedup": 4, "data": "digits", "samples": 64, "threads": 1, "sparsify_epochs": 2,
    "sparsify_args": {"batch_size": 64, "samples": 400, "lr": 0.02},
}  # fmt: skip


def test_picked_trained_cut_and_trained_again_in_one_process_as_in_three(
    tmp_path: Path, no_reload: None
) -> None:
    args = {**BEFORE["sparsify_args"], "every": 5}
    last = {"finetune_epochs": 2, "finetune_args": {"batch_size": 64, "samples": 400}}
    whole = prunecli.prune(
        DEMO, **{**BEFORE, "sparsify_args": args}, **last, sparsify="greg-1", scheme="local", repair="bn"
    )
    sparse = prunecli.sparsify(
        DEMO, regularizer="greg-1", regularizer_args={"every": 5}, speedup=4, scheme="local", data="digits",
        samples=400, epochs=2, lr=0.02, batch_size=64, inputs=("1,8,8",), threads=1,
    )  # fmt: skip
    assert sparse.plan == whole.plan
    sparse.save(tmp_path / "sparse.safetensors")
    cut = prunecli.prune(
        tmp_path / "sparse.safetensors", plan=sparse.plan, data="digits", samples=64, repair="bn", threads=1
    )
    cut.save(tmp_path / "cut.safetensors")
    apart = prunecli.finetune(
        tmp_path / "cut.safetensors", data="digits", samples=400, epochs=2, batch_size=64, against=DEMO,
        arch="cifar:resnet8", arch_args={"in_channels": 1}, threads=1,
    )  # fmt: skip
    assert same_tensors(whole.model.state_dict(), apart.model.state_dict())
    report = whole.report
    assert list(report.quality) == ["dense", "sparsified", "cut", "repaired", "finetuned"]
    assert [stage.name for stage in report.training] == ["sparsified", "finetuned"]
    first = report.training[0]
    assert first.sparsity is not None
    assert sparse.report.sparsity is not None
    assert first.sparsity.told == sparse.report.sparsity.told
    assert first.sparsity.target == "--speedup 4"
    assert not first.distilled
    assert first.epochs[-1].quality is not None
    assert first.epochs[-1].quality.top1 == report.quality["sparsified"].top1
    whole.save(tmp_path / "whole.safetensors")
    verified = prunecli.verify(tmp_path / "whole.safetensors", against=DEMO)
    assert verified.passed
    assert (verified.changed_by[0], verified.changed_by[-1]) == ("sparsify", "finetune")


def test_rounds_are_steps_with_a_training_before_each(tmp_path: Path, no_reload: None) -> None:
    """With a learning rate that moves nothing they are steps; with another they are not."""
    still = {**BEFORE["sparsify_args"], "lr": 1e-15}
    asked = {**BEFORE, "sparsify_epochs": None, "repair": "none", "sparsify_args": still}
    steps = {name: value for name, value in asked.items() if not name.startswith("sparsify")}
    rounds, by_steps = prunecli.prune(DEMO, **asked, rounds=2), prunecli.prune(DEMO, **steps, steps=2)
    assert rounds.plan == by_steps.plan
    for name, parameter in by_steps.model.named_parameters():
        torch.testing.assert_close(rounds.model.get_parameter(name), parameter, rtol=1e-6, atol=1e-9)
    assert [stage.name for stage in rounds.report.training] == ["round-1", "round-2"]
    trained = prunecli.prune(DEMO, **{**asked, "sparsify_args": BEFORE["sparsify_args"]}, rounds=2)
    assert trained.report.target.reached == pytest.approx(4, rel=0.005)
    assert not same_tensors(trained.model.state_dict(), by_steps.model.state_dict())
    trained.save(tmp_path / "trained.safetensors")
    assert prunecli.verify(tmp_path / "trained.safetensors", against=DEMO).changed_by == ("train",)


def test_repair_after_rounds_is_toward_what_was_cut_last() -> None:
    asked = {**BEFORE, "sparsify_epochs": None, "rounds": 2}
    found = prunecli.prune(DEMO, **asked, repair="lstsq").report
    assert found.repair is not None
    assert list(found.quality) == ["dense", "trained", "cut", "repaired"]
    assert found.quality["repaired"].top1 is not None
    assert found.quality["cut"].top1 is not None
    assert found.quality["repaired"].top1 >= found.quality["cut"].top1


def test_from_random_weights(tmp_path: Path) -> None:
    out = tmp_path / "r.safetensors"
    ran = run_fresh(
        "run", "--init", "random", "--arch", "cifar:resnet8", "--arch-arg", "in_channels=1",
        "--input", "1,8,8", "--speedup", "2", "--data", "digits", "--rounds", "2",
        "--finetune-epochs", "3", "--seed", "3", "-o", out, "-q",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["quality"]["dense"]["top1"] < 0.3 < 0.7 < report["quality"]["finetuned"]["top1"]
    assert [stage["distilled"] for stage in report["training"]] == [False, False, False]
    assert report["checkpoint"] is None
    assert prunecli.evaluate(out, data="digits").quality.top1 == report["quality"]["finetuned"]["top1"]
    names = sorted(item.name for item in tmp_path.iterdir())
    assert [name for name in names if "state" in name] == []


def test_training_until_the_masks_are_stable() -> None:
    more: dict[str, Any] = {"sparsify": "bn-scale", "criterion": "bn-scale", "repair": "none"}
    asked = {**BEFORE, "sparsify_epochs": 9}
    found = prunecli.prune(DEMO, **asked, **more, prune_when="mask-stable=0.5").report
    (stage,) = found.training
    assert stage.sparsity is not None
    assert stage.sparsity.told["stable"] is True
    assert len(stage.epochs) == 2
    assert any("distances of masks from epoch to epoch" in note for note in found.notes)
    never = prunecli.prune(DEMO, **{**asked, "sparsify_epochs": 2}, **more, prune_when="mask-stable=0").report
    assert never.training[0].sparsity is not None
    assert never.training[0].sparsity.told["stable"] is False
    assert any("the cut was made at the end" in note for note in never.notes)


@pytest.mark.parametrize("stopped", [1, 2, 5])
def test_a_run_of_several_trainings_goes_on_in_each(stopped: int, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        **BEFORE, "sparsify": "growing-reg", "rounds": 2, "repair": "bn", "finetune_epochs": 1,
        "finetune_args": {"batch_size": 64, "samples": 400},
    }  # fmt: skip
    kept, seen = {"state": tmp_path / "s.pt"}, []

    def stop(row: object, stage: str, epochs: int) -> None:
        seen.append((stage, epochs))
        if len(seen) == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prunecli.prune(DEMO, **asked, **kept, on_epoch=stop)
    left: list[tuple[str, int]] = []
    found = prunecli.prune(
        DEMO, **asked, **kept, resume=True, on_epoch=lambda row, stage, epochs: left.append((stage, epochs))
    )
    assert [*seen, *left] == [("round-1", 2)] * 2 + [("round-2", 2)] * 2 + [("finetuned", 1)]
    assert same_tensors(found.model.state_dict(), _whole(asked))


_WHOLE: dict[str, Any] = {}


def _whole(asked: dict[str, Any]) -> Any:
    if not _WHOLE:
        _WHOLE.update(prunecli.prune(DEMO, **asked).model.state_dict())
    return _WHOLE


def test_there_must_be_a_state_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no state to resume from"):
        prunecli.prune(DEMO, **BEFORE, sparsify="bn-scale", state=tmp_path / "s.pt", resume=True)


def test_a_regularizer_that_picked_nothing_is_an_error() -> None:
    args = {**BEFORE["sparsify_args"], "delta-all": 1e-9}
    with pytest.raises(prunecli.ImpossibleError, match="had picked nothing"):
        prunecli.prune(DEMO, **{**BEFORE, "sparsify_args": args}, sparsify="greg-2")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speedup": None, "heads": 0.5}, "greg-1 needs exactly one target"),
        ({"ratio_for": {"layer1*": 0.2}}, "greg-1 picks for one target"),
        ({"init": "ones"}, "unknown init 'ones'"),
        ({"init": "random"}, "--init random begins with no checkpoint"),
    ],
)
def test_what_does_not_go_with_training_before(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        prunecli.prune(DEMO, **{**BEFORE, "sparsify": "greg-1", **given})


def test_two_processes_do_the_whole_of_it_together(tmp_path: Path) -> None:
    shutil.copy(DEMO, tmp_path / "dense.safetensors")
    done = finish(
        start(
            *TWO, "-m", "prunecli", "run", "dense.safetensors", "--input", "1,8,8", "--speedup", "4",
            "--data", "digits", "--rounds", "2", "--sparsify", "group-lasso", "--finetune-epochs", "2",
            "--device", "cpu", "-o", "small.safetensors", folder=tmp_path,
        )
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.out.count("dense.safetensors -> small.safetensors") == 1
    told = [line.split(":")[0] for line in done.err.splitlines() if ": epoch" in line]
    assert told == ["round-1", "round-2", "finetuned", "finetuned"]
    assert done.err.count("note: trained by 2 processes") == 1
    verified = prunecli.verify(tmp_path / "small.safetensors", against=DEMO)
    assert verified.passed
    report = json.loads((tmp_path / "small.json").read_text())
    assert report["quality"]["finetuned"]["top1"] > 0.95
    assert prunecli.evaluate(tmp_path / "small.safetensors", data="digits").quality.top1 == pytest.approx(
        report["quality"]["finetuned"]["top1"]
    )
    assert not list(tmp_path.glob("*.state*"))


def test_processes_must_choose_the_same_units(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Team):
        def gathered(self, value: Any) -> list[Any]:
            return [value, "of another process"]

        def told(self, value: Any) -> Any:
            return value

    def two(device: str, state: Path | None) -> Any:
        return nullcontext((Odd(0, 2), torch.device("cpu")))

    monkeypatch.setattr(api, "joined", two)
    with pytest.raises(prunecli.ImpossibleError, match="the 2 processes chose different units"):
        prunecli.prune(DEMO, **{**BEFORE, "sparsify_epochs": None}, rounds=1, repair="none")


def test_the_process_that_writes_the_states_says_which_there_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On another machine there are none, and yet it takes part in reading them: else they wait for it."""
    kept = {"state": tmp_path / "s.pt", **BEFORE, "sparsify": "bn-scale", "repair": "none"}
    prunecli.prune(DEMO, **kept)
    (written,) = tmp_path.iterdir()
    held = read_state(written)
    written.unlink()

    class Second(Team):
        def told(self, value: Any) -> Any:
            return True if isinstance(value, bool) else held

        def gathered(self, value: Any) -> list[Any]:
            return [value]

    def second(device: str, state: Path | None) -> Any:
        return nullcontext((Second(1, 1), torch.device("cpu")))

    monkeypatch.setattr(api, "joined", second)
    epochs: list[str] = []
    found = prunecli.prune(DEMO, **kept, resume=True, on_epoch=lambda row, stage, of: epochs.append(stage))
    assert epochs == []
    assert [len(stage.epochs) for stage in found.report.training] == [2]

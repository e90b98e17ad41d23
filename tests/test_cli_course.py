"""``--finetune-epochs`` and what goes with it: how it reaches the API, and what is refused before that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_runner import run_here
from test_cli_run import FakeApi, api

from prunecli.presets import preset

__all__ = ["api"]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(b"x")
    return tmp_path / "m.pth"


def ran_with(capsys: pytest.CaptureFixture[str], typed: str) -> tuple[int, str]:
    ran = run_here(capsys, "run", "m.pth", "--speedup", "2", *typed.split())
    return ran.code, ran.err


def test_options_are_handed_on(path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    typed = (
        "--data digits --finetune-epochs 7 --finetune-arg lr=0.5 --finetune-arg batch-size=9 "
        "--eval-data npz:x.npz --save-minutes 0.5 -o s.safetensors"
    )
    assert ran_with(capsys, typed)[0] == 0
    (call,) = api.calls
    expected: dict[str, Any] = {
        "finetune_epochs": 7, "finetune_args": {"lr": 0.5, "batch_size": 9}, "eval_data": "npz:x.npz",
        "save_seconds": 30.0, "resume": False,
        "state": Path("s.state.pt"), "metrics": Path("s.metrics.jsonl"),
    }  # fmt: skip
    assert {name: call[name] for name in expected} == expected


def test_a_dry_run_trains_nothing(path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran_with(capsys, "--data digits --finetune-epochs 7 --dry-run")[0] == 0
    assert "finetune_epochs" not in api.calls[0]


def test_trainings_before_the_cut_are_handed_on(
    path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = (
        "--data digits --sparsify group-norm --sparsify-epochs 3 --sparsify-arg strength=1e-3 "
        "--sparsify-arg batch-size=9 --prune-when mask-stable=0.2 -o s.safetensors"
    )
    assert ran_with(capsys, typed)[0] == 0
    (call,) = api.calls
    expected: dict[str, Any] = {
        "sparsify": "group-norm", "sparsify_epochs": 3, "sparsify_args": {"strength": 1e-3, "batch_size": 9},
        "prune_when": "mask-stable=0.2", "rounds": None, "finetune_epochs": None, "init": None,
    }  # fmt: skip
    assert {name: call[name] for name in expected} == expected


def test_a_preset_is_what_was_not_typed(path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    typed = (
        "--data digits --preset pruningbench:resnet50-cifar100 --sparsify group-lasso --sparsify-epochs 7 "
        "--sparsify-arg strength=1 --finetune-arg lr=0.5 --repair bn"
    )
    assert ran_with(capsys, typed)[0] == 0
    (call,) = api.calls
    known = preset("pruningbench:resnet50-cifar100", sparsify="group-lasso")
    assert call["criterion"] == known["criterion"] == "magnitude-l2"
    assert (call["sparsify_epochs"], call["repair"]) == (7, "bn")
    assert call["sparsify_args"] == {**known["sparsify_args"], "strength": 1.0}
    assert call["finetune_args"] == {**known["finetune_args"], "lr": 0.5}
    assert call["finetune_epochs"] == 100


def test_random_weights_have_no_checkpoint(
    path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(
        capsys, "run", "--speedup", "2", "--init", "random", "--arch", "cifar:resnet8", "--data", "digits",
        "--rounds", "2", "-o", "r.safetensors",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert (api.calls[0]["init"], api.calls[0]["model_or_path"]) == ("random", None)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ((), "missing argument 'CKPT'"),
        (("--init", "random", "--rounds", "2"), "--init random needs an architecture"),
        (("--init", "random", "--arch", "cifar:resnet8", "--rounds", "2"), "has no checkpoint to name"),
        (
            ("m.pth", "--init", "random", "--arch", "cifar:resnet8", "--rounds", "2"),
            "--init random begins without a checkpoint",
        ),
        (
            ("--init", "random", "--arch", "cifar:resnet8", "-o", "r.safetensors"),
            "--init random, and nothing is trained",
        ),
        (("--init", "zeros", "--arch", "cifar:resnet8", "-o", "r.safetensors"), "unknown init 'zeros'"),
    ],
)
def test_what_is_pruned_must_be_one(
    typed: tuple[str, ...], message: str, path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "run", "--speedup", "2", "--data", "digits", *typed)
    assert (ran.code, api.calls) == (2, [])
    assert message in ran.err.splitlines()[0]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--rounds 3", "--rounds needs data"),
        ("--data digits --sparsify group-laso --sparsify-epochs 2", "unknown regularizer 'group-laso'"),
        ("--data digits --sparsify group-lasso", "--sparsify group-lasso: for how long?"),
        ("--data digits --rounds 2 --sparsify-arg strength=1", "strength is no setting"),
        ("--data digits --rounds 2 --sparsify-arg strength=a", "'a' is not a number"),
        ("--data digits --rounds 2 --steps 2", "--rounds goes without --steps"),
        ("--data digits --rounds 2 --dry-run", "--dry-run trains nothing"),
        ("--data digits --preset greg:slow", "unknown preset 'greg:slow'"),
        ("--data digits --preset greg:fast", "--sparsify greg-1: for how long?"),
        ("--finetune-epochs 3", "--finetune-epochs needs data"),
        ("--data digits --finetune-epochs 0", "--finetune-epochs 0 is out of range"),
        ("--data digits --finetune-epochs 3 --finetune-arg epochs=2", "--finetune-arg epochs is what"),
        ("--data digits --finetune-epochs 3 --finetune-arg rl=2", "unknown setting 'rl'"),
        ("--data digits --finetune-epochs 3 --finetune-arg samples=0", "--samples 0 is out of range"),
        ("--data digits --finetune-epochs 3 --eval-data digit", "unknown data source 'digit'"),
        ("--data digits --finetune-epochs 3 --save-minutes nan", "--save-minutes nan is out of range"),
        ("--data digits --finetune-epochs 3 --resume", "there is no state to resume from"),
        ("--data digits --finetune-epochs 3 -o old.safetensors", "old.state.pt is the state of a run"),
        ("--data digits --finetune-arg lr=2", "--finetune-arg is given, and nothing is trained"),
        ("--data digits --resume", "--resume is given, and nothing is trained"),
        ("--eval-data digits", "--eval-data is given, and nothing is trained"),
    ],
)
def test_wrong_usage_is_found_before_anything_is_read(
    typed: str, message: str, path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    path.with_name("old.state.pt").write_bytes(b"x")
    code, said = ran_with(capsys, typed)
    assert (code, api.calls) == (2, [])
    assert message in said.splitlines()[0]


def test_of_several_processes_the_first_looks_at_what_is_written(
    path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    path.with_name("s.state.pt").write_bytes(b"x")
    typed = "--data digits --finetune-epochs 3 -o s.safetensors"
    for rank, code in ((0, 2), (1, 0)):
        monkeypatch.setenv("RANK", str(rank))
        assert ran_with(capsys, typed)[0] == code
    assert len(api.calls) == 1
    assert path.with_name("s.state.pt").exists()


def test_several_processes_without_training_are_refused(
    path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    code, said = ran_with(capsys, "--data digits")
    assert (code, api.calls) == (2, [])
    assert "one process is enough" in said


def test_a_run_begun_anew_leaves_no_state_of_another(
    path: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = [path.with_name(name) for name in ("s.state.pt", "s.state.round-7.pt")]
    others = [path.with_name(name) for name in ("st.state.pt", "s.state.json", "s.state.pt.txt")]
    for each in (*stale, *others):
        each.write_bytes(b"x")
    typed = "--data digits --rounds 2 -o s.safetensors"
    code, said = ran_with(capsys, typed)
    assert (code, api.calls) == (2, [])
    assert "s.state.pt is the state of a run" in said
    assert all(each.exists() for each in stale)
    assert ran_with(capsys, f"{typed} --force")[0] == 0
    assert [each.exists() for each in (*stale, *others)] == [False, False, True, True, True]

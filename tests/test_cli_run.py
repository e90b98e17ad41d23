"""``prune run``: how options reach the API, what is printed and what is written."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Ran, run_here
from report_examples import report

import prunecli
from prunecli.api import prune
from prunecli.errors import ImpossibleError
from prunecli.plan import Plan
from prunecli.report.model import Report

PLAN = Plan({"conv1": (0, 2)}, {"conv1": 4})


@dataclass
class FakeApi:
    """Stands in for ``prunecli.prune``: remembers what it was called with."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    saved: list[tuple[Path, bool]] = field(default_factory=list)
    report: Report = field(default_factory=lambda: replace(report(), output=None))
    plan: Plan = PLAN

    def prune(self, *arguments: Any, **options: Any) -> FakeApi:
        self.calls.append(dict(inspect.signature(prune).bind(*arguments, **options).arguments))
        return self

    def save(self, path: Path, *, force: bool) -> Report:
        path.write_bytes(b"small")
        self.saved.append((path, force))
        return report()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.setitem(prunecli.__dict__, "prune", fake.prune)
    return fake


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    return path


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_defaults_are_those_of_the_api(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "run", checkpoint, "--speedup", "2")
    assert ran.code == 0, ran.err
    (call,) = api.calls
    assert call.pop("model_or_path") == checkpoint
    assert call.pop("speedup") == 2.0
    assert call.pop("latency") is True
    assert call.pop("arch_args") == call.pop("ratio_for") == call.pop("round_to_for") == {}
    defaults = inspect.signature(prune).parameters
    for name, value in call.items():
        assert value == defaults[name].default, name


def test_every_option_reaches_the_api(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = (
        "--ratio 0.5 --criterion obd-c --scheme global --protect 0.2 --max-ratio 0.8 --round-to 8 --steps 3 "
        "--ignore layer1.* --ignore fc --only layer* --heads 0.25 --ratio-for layer2.*=0.5 --ratio-for a=b=0 "
        "--round-to-for layer3.*=4 --reduce max --normalize gaussian --loss cross-entropy --temperature 4 "
        "--repair bn --data digits "
        "--samples 64 --transform none --memory 1GB --repair-seconds 5 --tolerance 0.01 "
        "--device cpu --seed 7 --threads 2 --no-latency --arch cifar:resnet20 "
        "--arch-arg num_classes=10 --input 3,32,32 --unsafe-load --force"
    )
    ran = run_here(capsys, "run", checkpoint, *options.split())
    assert ran.code == 0, ran.err
    (call,) = api.calls
    assert {k: v for k, v in call.items() if k not in ("model_or_path", "plan", "progress")} == {
        "ratio": 0.5,
        "criterion": "obd-c",
        "scheme": "global",
        "protect": 0.2,
        "max_ratio": 0.8,
        "round_to": 8,
        "steps": 3,
        "ignore": ("layer1.*", "fc"),
        "only": ("layer*",),
        "init": None,
        "heads": 0.25,
        "ratio_for": {"layer2.*": 0.5, "a=b": 0.0},
        "round_to_for": {"layer3.*": 4},
        "reduce": "max",
        "normalize": "gaussian",
        "loss": "cross-entropy",
        "temperature": 4.0,
        "repair": "bn",
        "data": "digits",
        "samples": 64,
        "transform": "none",
        "memory": 1 << 30,
        "repair_seconds": 5.0,
        "tolerance": 0.01,
        "device": "cpu",
        "seed": 7,
        "threads": 2,
        "latency": False,
        "arch": "cifar:resnet20",
        "arch_args": {"num_classes": 10},
        "inputs": ("3,32,32",),
        "unsafe_load": True,
    }
    assert api.saved == [(checkpoint.with_name("model.pruned.safetensors"), True)]


@pytest.mark.parametrize("option", [("--heads", "0.5"), ("--ratio-for", "conv1=0.5")])
def test_single_groups_are_a_target_of_their_own(
    option: tuple[str, str], api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "run", checkpoint, *option)
    assert ran.code == 0, ran.err
    assert not {"speedup", "flops", "params", "ratio"} & set(api.calls[-1])


def test_the_report_lies_beside_the_output(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["prune", "run", "model.pth"])
    ran = run_here(capsys, "run", checkpoint, "--flops", "0.5", "-o", checkpoint.with_name("s.safetensors"))
    assert ran.code == 0
    assert names_in(checkpoint.parent) == ["model.pth", "s.json", "s.safetensors"]
    written = json.loads(checkpoint.with_name("s.json").read_text())
    assert written == replace(report(), command=("prune", "run", "model.pth")).to_json()
    assert ran.out.startswith("resnet50.pth -> small.safetensors")
    assert ran.err == "note: identified by 320 names\n"


def test_reports_can_be_repeated(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert run_here(capsys, "run", checkpoint, "--flops", "0.5", "--report", a, "--report", b).code == 0
    assert a.read_text() == b.read_text()
    assert names_in(tmp_path) == ["a.json", "b.json", "model.pruned.safetensors", "model.pth"]


def test_json_is_one_document_and_q_is_the_path(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, "run", checkpoint, "--flops", "0.5", "--json")
    assert json.loads(ran.out)["schema"] == "prunecli.report/1"
    ran = run_here(capsys, "run", checkpoint, "--flops", "0.5", "--force", "-q")
    assert ran == Ran(0, f"{checkpoint.with_name('model.pruned.safetensors')}\n", "")


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ran = run_here(capsys, "run", checkpoint, "--speedup", "2", "--dry-run", "--json")
    plan = json.loads(ran.out)
    assert plan["schema"] == "prunecli.plan/1"
    assert plan["groups"] == {"conv1": {"dense": 4, "kept": [0, 2]}}
    text = run_here(capsys, "run", checkpoint, "--speedup", "2", "--dry-run", "--report", tmp_path / "r.json")
    assert "nothing was written" in text.out
    assert "note: --dry-run writes nothing, so no report either" in text.err
    assert [call["latency"] for call in api.calls] == [False, False]
    assert run_here(capsys, "run", checkpoint, "--speedup", "2", "--dry-run", "-q").out == ""
    assert names_in(tmp_path) == ["model.pth"]
    assert api.saved == []


def test_a_plan_file_is_the_target(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(run_here(capsys, "run", checkpoint, "--speedup", "2", "--dry-run", "--json").out)
    assert run_here(capsys, "run", checkpoint, "--plan", file).code == 0
    assert api.calls[-1]["plan"] == PLAN
    assert not {"speedup", "flops", "params", "ratio"} & set(api.calls[-1])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--speedup", "0.5"], 2, "--speedup 0.5 is out of range"),
        (["--speedup", "2", "--ratio", "0.5"], 2, "--speedup and --ratio together"),
        ([], 2, "no target given"),
        (["--speedup", "2", "--criterion", "magnitude-l3"], 2, "unknown criterion 'magnitude-l3'"),
        (["--speedup", "2", "--criterion", "taylor"], 2, "criterion 'taylor' needs data"),
        (["--speedup", "2", "--loss", "kd"], 2, "--loss kd compares with another network"),
        (["--speedup", "2", "--loss", "mse"], 2, "--loss mse is given, and no criterion here has a loss"),
        (["--speedup", "2", "--temperature", "-1"], 2, "--temperature -1 is out of range"),
        (["--speedup", "2", "--repair", "lstq"], 2, "unknown repair 'lstq'"),
        (["--speedup", "2", "--report", "r.pdf"], 2, "--report r.pdf: no report of that kind"),
        (["--speedup", "2", "-o", "missing/s.safetensors"], 5, "no such directory: missing"),
        (["--speedup", "2", "-q", "--json"], 2, "--json and -q"),
        (["--speedup", "2", "--arch-arg", "x"], 2, "--arch-arg 'x'"),
        (["--speedup", "2", "--input", "a,b"], 2, "--input 'a,b'"),
        (["--plan", "missing.json"], 2, "no such file: missing.json"),
        (["--plan", "missing.json", "--heads", "0.5"], 2, "--plan and --heads together"),
        (["--heads", "1"], 2, "--heads 1 is out of range"),
        (["--ratio-for", "a=0"], 2, "no target given"),
        (["--ratio-for", "a=1"], 2, "--ratio-for a 1 is out of range"),
        (["--ratio-for", "layer1"], 2, "--ratio-for layer1 is not GLOB=R"),
        (["--ratio-for", "=0.5"], 2, "--ratio-for =0.5 is not GLOB=R"),
        (["--ratio-for", "a=0.5", "--ratio-for", "a=0.4"], 2, "--ratio-for a=0.5 and --ratio-for a=0.4"),
        (["--speedup", "2", "--round-to-for", "a=1.5"], 2, "--round-to-for a=1.5 is not GLOB=N"),
        (["--speedup", "2", "--round-to-for", "a=0"], 2, "--round-to-for a 0 is out of range"),
    ],
)
def test_wrong_usage_is_found_before_the_api_is_called(
    arguments: list[str],
    code: int,
    message: str,
    api: FakeApi,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    ran = run_here(capsys, "run", checkpoint, *arguments)
    first, second = ran.err.splitlines()
    assert (ran.code, ran.out) == (code, "")
    assert first.startswith(f"error: {message}")
    assert second.startswith("hint: ")
    assert api.calls == []
    assert names_in(checkpoint.parent) == ["model.pth"]


def test_a_criterion_that_looks_at_data_has_some_or_a_plan(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    taylor = ("--criterion", "taylor")
    assert run_here(capsys, "run", checkpoint, "--speedup", "2", *taylor, "--data", "noise").code == 0
    file = tmp_path / "plan.json"
    file.write_text(run_here(capsys, "run", checkpoint, "--speedup", "2", "--dry-run", "--json").out)
    assert run_here(capsys, "run", checkpoint, "--plan", file, *taylor, "--force").code == 0


def test_existing_outputs_need_force(
    api: FakeApi, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_here(capsys, "run", checkpoint, "--speedup", "2").code == 0
    ran = run_here(capsys, "run", checkpoint, "--speedup", "2")
    assert (ran.code, len(api.calls)) == (2, 1)
    assert "model.pruned.safetensors exists" in ran.err
    assert run_here(capsys, "run", checkpoint, "--speedup", "2", "--force").code == 0


def test_a_target_out_of_reach_leaves_nothing_behind(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(*_: object, **__: object) -> None:
        raise ImpossibleError("--speedup 1000 is out of reach: the best is 59x", "ask for less")

    monkeypatch.setitem(prunecli.__dict__, "prune", impossible)
    ran = run_here(capsys, "run", checkpoint, "--speedup", "1000")
    assert ran.code == 4
    assert ran.err.splitlines()[0] == "error: --speedup 1000 is out of reach: the best is 59x"
    assert names_in(checkpoint.parent) == ["model.pth"]


_OWN = """
from torch import nn

def build(width=8):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    )
"""


def test_plan_then_run_then_verify_for_real(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    (tmp_path / "own.py").write_text(_OWN)
    space: dict[str, Any] = {}
    exec(_OWN, space)
    torch.manual_seed(0)
    torch.save(space["build"](16).state_dict(), tmp_path / "own.pth")
    arch = ("--arch", f"{tmp_path / 'own.py'}:build")
    network = (*arch, "--arch-arg", "width=16", "--input", "3,12,12")
    small, planned = tmp_path / "small.safetensors", tmp_path / "planned.safetensors"

    ran = run_here(capsys, "run", tmp_path / "own.pth", *network, "--speedup", "2", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    (tmp_path / "plan.json").write_text(ran.out)
    ran = run_here(capsys, "run", tmp_path / "own.pth", *network, "--speedup", "2", "-o", small, "-q")
    assert (ran.code, ran.out) == (0, f"{small}\n"), ran.err
    ran = run_here(
        capsys,
        "run",
        tmp_path / "own.pth",
        *network,
        "--plan",
        tmp_path / "plan.json",
        "-o",
        planned,
        "--json",
    )
    assert ran.code == 0, ran.err
    done = json.loads(ran.out)
    assert done["target"]["kind"] == "plan"
    assert done["before"]["macs"] == sum(row["macs_before"] for row in done["layers"])
    assert done["after"]["params"] == sum(row["params_after"] for row in done["layers"])
    assert all(proof["passed"] for proof in done["proofs"])

    ran = run_here(capsys, "verify", small, "--against", tmp_path / "own.pth", *arch)
    assert ran.code == 0, ran.out + ran.err
    ran = run_here(capsys, "inspect", tmp_path / "own.pth", *network, "--groups")
    assert ran.code == 0, ran.err

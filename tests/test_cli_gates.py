from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import Ran, run_here

import prunecli
from prunecli.cli.gates import gates
from prunecli.errors import UsageError
from prunecli.training.loop import Loop

DEMO = Path(prunecli.__file__).parent / "demo" / "digits_resnet8.safetensors"
SMALL = ("--input", "1,8,8", "--speedup", "4", "--data", "digits", "--samples", "64", "--repair", "bn")
TRAINED = (
    "--finetune-epochs", "1", "--finetune-arg", "samples=64", "--finetune-arg", "batch-size=64",
    "--finetune-arg", "lr=0.001",
)  # fmt: skip
PARAMS = 8050


@pytest.mark.parametrize(
    ("name", "text", "number"),
    [
        ("max_params", "5000000", 5_000_000),
        ("max_params", "5M", 5_000_000),
        ("max_params", "1.5k", 1500),
        ("max_macs", "1.2G", 1_200_000_000),
        ("max_macs", "4e9", 4_000_000_000),
        ("max_bytes", "20MB", 20 * 1000**2),
        ("max_bytes", "119kB", 119_000),
        ("max_bytes", "1.5G", 1_500_000_000),
        ("max_bytes", "1.3KiB", 1331),
        ("max_bytes", "20 MiB", 20 * 1024**2),
        ("max_bytes", "1.5kib", 1536),
        ("max_bytes", "512", 512),
        ("max_bytes", "512B", 512),
        ("max_latency", "2.5", 2.5),
        ("max_latency", "2.5ms", 2.5),
        ("min_accuracy", "0.92", 0.92),
        ("min_accuracy", "92%", 0.92),
        ("min_accuracy", "99.2%", 0.992),
        ("max_drop", "1%", 0.01),
        ("max_drop", "0", 0.0),
        ("min_agreement", ".95", 0.95),
    ],
)
def test_numbers_as_people_type_them(name: str, text: str, number: float) -> None:
    assert gates({name: text}).set == {name: number}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("max_params", "5X", "--max-params 5X is not a number"),
        ("max_params", "-5", "--max-params -5 is not a number"),
        ("max_params", "", "--max-params  is not a number"),
        ("max_macs", "nan", "--max-macs nan is not a number"),
        ("max_macs", "1e999", "--max-macs 1e999 is not a number"),
        ("max_params", "0", "--max-params 0 is out of range"),
        ("max_params", "0.5", "--max-params 0.5 is not a whole number of parameters"),
        ("max_params", "1.2345K", "--max-params 1.2345K is not a whole number of parameters"),
        ("max_macs", "1.9", "--max-macs 1.9 is not a whole number of MACs"),
        ("max_bytes", "0.5", "--max-bytes 0.5 is not a whole number of bytes"),
        ("max_bytes", "20iB", "--max-bytes 20iB is not a size"),
        ("max_drop", "-1%", "--max-drop -1% is not a fraction"),
        ("max_bytes", "20 megabytes", "--max-bytes 20 megabytes is not a size"),
        ("max_latency", "5s", "--max-latency 5s is not a number of milliseconds"),
        ("min_accuracy", "92", "--min-accuracy 92 is out of range"),
        ("min_accuracy", "101%", "--min-accuracy 1.01 is out of range"),
        ("max_drop", "1", "--max-drop 1 is out of range"),
        ("min_agreement", "most", "--min-agreement most is not a fraction"),
    ],
)
def test_what_is_none_is_wrong_usage(name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        gates({name: text})
    assert caught.value.message == message
    assert caught.value.hint


def test_a_drop_is_hinted_at_as_one() -> None:
    with pytest.raises(UsageError) as caught:
        gates({"max_drop": "-1%"})
    assert caught.value.hint == "from 0, like 0.01 or 1%"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_reload: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for every epoch that is trained from now on."""
    seen: list[int] = []
    run_epoch = Loop._run_epoch

    def counted(self: Loop) -> None:
        seen.append(len(seen))
        run_epoch(self)

    monkeypatch.setattr(Loop, "_run_epoch", counted)
    return seen


def run(capsys: pytest.CaptureFixture[str], *typed: object) -> Ran:
    return run_here(capsys, "run", DEMO, *SMALL, "-o", "s.safetensors", *typed)


def report(name: str = "s.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(name).read_text())
    return found


def test_the_parameters_of_the_cut_are_judged_to_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "--max-params", PARAMS - 1)
    assert ran.code == 4
    assert ran.err.splitlines()[-2:] == [
        "error: --max-params 8,049 parameters is not met: it is 8,050 parameters (1 of 1 gate failed)",
        "hint: another limit, or another target",
    ]
    (line,) = [line for line in ran.out.splitlines() if line.startswith("--max-params")]
    said = " ".join(line.split())
    assert said == "--max-params at most 8,049 parameters 8,050 parameters FAILED"
    assert sorted(path.name for path in Path().iterdir()) == ["s.json"]
    found = report()
    assert found["output"] is None
    assert (found["after"]["params"], found["repair"]) == (PARAMS, None)
    Path("s.json").write_text(Path("s.json").read_text().replace("prunecli.report/1", "other"))
    ran = run(capsys, "--max-params", PARAMS)
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: s.json exists")
    Path("s.json").write_text(Path("s.json").read_text().replace("other", "prunecli.report/1"))
    ran = run(capsys, "--max-params", PARAMS)
    assert ran.code == 0, ran.err
    (gate,) = report()["gates"]
    assert gate == {
        "name": "max-params", "limit": PARAMS, "found": PARAMS, "unit": "parameters", "passed": True,
    }  # fmt: skip
    assert report()["output"]["name"] == "s.safetensors"
    ran = run(capsys, "--max-params", PARAMS)
    assert (ran.code, ran.err.splitlines()[0]) == (2, "error: s.safetensors exists")
    ran = run(capsys, "--max-params", PARAMS - 1, "--force")
    note = "s.safetensors is that of an earlier run: a gate does not hold, so it was not replaced"
    assert (ran.code, f"note: {note}" in ran.err, note in report()["notes"]) == (4, True, True)
    assert Path("s.safetensors").exists()


def test_sizes_are_judged_before_anything_is_trained(
    capsys: pytest.CaptureFixture[str], epochs: list[int]
) -> None:
    ran = run(capsys, *TRAINED, "--max-macs", "100K", "--min-accuracy", "50%", "--json")
    assert (ran.code, epochs) == (4, [])
    told = json.loads(ran.out)
    assert told == report()
    assert [(gate["found"], gate["passed"]) for gate in told["gates"]] == [(193430, False), (None, False)]
    assert "1 of 2 gates failed, 1 not judged" in ran.err
    assert sorted(path.name for path in Path().iterdir()) == ["s.json"]


@pytest.mark.parametrize(
    "typed",
    [
        ("--rounds", "2", "--speedup", "4", "--max-macs", "100K", "--max-params", "9K"),
        ("--sparsify", "group-lasso", "--sparsify-epochs", "1", "--params", "0.3", "--max-params", "20K"),
    ],
)
def test_what_the_target_says_is_judged_before_the_training_before_the_cut(
    typed: tuple[str, ...], capsys: pytest.CaptureFixture[str], epochs: list[int]
) -> None:
    basic = ("--input", "1,8,8", "--data", "digits", "--samples", "64", "--repair", "none")
    ran = run_here(capsys, "run", DEMO, *basic, "-o", "s.safetensors", *typed)
    assert (ran.code, epochs) == (4, []), ran.err
    found = report()
    assert [path.name for path in Path().iterdir()] == ["s.json"]
    assert (found["output"], found["training"], found["repair"]) == (None, [], None)
    name = "params" if "--params" in typed else "macs"
    (decided,) = [gate for gate in found["gates"] if gate["found"] is not None]
    assert decided["name"] == f"max-{name}"
    assert decided["found"] == found["after"][name] > decided["limit"]
    assert "note: nothing was trained" in ran.err


def test_what_was_trained_stays_and_another_limit_takes_it(
    capsys: pytest.CaptureFixture[str], epochs: list[int]
) -> None:
    asked = ("--min-agreement", "50%", "--max-drop", "20%", "--min-accuracy")
    ran = run(capsys, *TRAINED, "-q", *asked, "100%")
    assert (ran.code, ran.out, len(epochs)) == (4, "", 1)
    assert ran.err.splitlines()[-1].startswith("hint: what was trained is kept")
    names = {path.name for path in Path().iterdir()}
    assert {"s.json", "s.state.pt"} <= names and "s.safetensors" not in names
    top1 = report()["quality"]["finetuned"]["top1"]
    assert [gate["passed"] for gate in report()["gates"]] == [False, True, True]
    assert report()["gates"][0]["found"] == top1
    ran = run(capsys, *TRAINED, "-q", *asked, repr(top1))
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "hint: --resume goes on with it, --force starts anew")
    ran = run(capsys, *TRAINED, "-q", *asked, repr(top1), "--resume")
    assert (ran.code, ran.out, len(epochs)) == (0, "s.safetensors\n", 1), ran.err
    assert not Path("s.state.pt").exists()
    assert [gate["passed"] for gate in report()["gates"]] == [True, True, True]
    assert prunecli.evaluate("s.safetensors", data="digits").quality.top1 == top1


def test_latency_is_judged_on_the_cut(capsys: pytest.CaptureFixture[str], epochs: list[int]) -> None:
    ran = run(capsys, *TRAINED, "--max-latency", "0.000001ms", "--min-agreement", "0")
    assert (ran.code, epochs) == (4, [])
    found = report()
    assert found["gates"][0]["found"] == found["latency"]["after"]["median"] > 0
    assert found["repair"] is None and not Path("s.safetensors").exists()
    ran = run(capsys, "--no-latency", "--max-latency", "1e5", "--force")
    assert ran.code == 0, ran.err
    assert report()["gates"][0]["found"] == report()["latency"]["after"]["median"]
    for typed in (
        ("eval", "s.safetensors", "--data", "digits"), ("diff", "s.safetensors", "s.safetensors"),
        ("finetune", "s.safetensors", "--data", "digits", "--epochs", "1"),
    ):  # fmt: skip
        ran = run_here(capsys, *typed, "--max-latency", "0.000001")
        assert (ran.code, epochs) == (4, [])
        assert ran.err.splitlines()[-2].startswith("error: --max-latency 0.000001 ms is not met: it is ")
    found = report("s.finetuned.json")
    assert found["gates"][0]["found"] == found["latency"]["before"]["median"]


def test_without_training_or_repair_accuracy_is_that_of_the_cut(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "--repair", "none", "--min-accuracy", "1%", "--min-agreement", "100%")
    found = report()
    assert list(found["quality"]) == ["dense", "cut"]
    agreement = found["quality"]["cut"]["agreement"]
    assert ran.code == (0 if agreement == 1 else 4)
    assert [gate["found"] for gate in found["gates"]] == [found["quality"]["cut"]["top1"], agreement]


def test_a_plan_is_judged_too(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "--dry-run", "--max-params", "8K", "--repair", "none")
    assert ran.code == 4
    assert "FAILED" in ran.out
    assert not list(Path().iterdir())
    assert run(capsys, "--dry-run", "--max-params", "9K", "--repair", "none", "-q").code == 0


def test_finetuning_what_is_too_large_does_not_begin(
    capsys: pytest.CaptureFixture[str], epochs: list[int]
) -> None:
    typed = ("finetune", DEMO, "--input", "1,8,8", "--data", "digits", "--samples", "64", "--epochs", "1")
    ran = run_here(capsys, *typed, "-o", "t.safetensors", "--max-bytes", "300KiB")
    assert (ran.code, epochs) == (4, [])
    assert ran.err.splitlines()[-1] == "hint: another limit, or another checkpoint"
    found = report("t.json")
    assert (found["output"], found["epochs"]) == (None, [])
    assert found["gates"][0]["found"] == 313776 > found["gates"][0]["limit"] == 300 * 1024
    asked = ("--against", DEMO, "--max-bytes", "307KiB", "--min-agreement", "100%", "--max-drop", "0")
    ran = run_here(capsys, *typed, "-o", "t.safetensors", "--lr", "1", *asked)
    assert (ran.code, len(epochs)) == (4, 1)
    assert Path("t.state.pt").exists() and not Path("t.safetensors").exists()
    assert [gate["passed"] for gate in report("t.json")["gates"]] == [True, False, False]
    ran = run_here(capsys, *typed, "-o", "t.safetensors", "--lr", "1", *asked)
    assert (ran.code, ran.err.splitlines()[-1]) == (2, "hint: --resume goes on with it, --force starts anew")
    loose = ("--against", DEMO, "--max-bytes", "307KiB", "--min-agreement", "0", "--resume", "-q")
    ran = run_here(capsys, *typed, "-o", "t.safetensors", "--lr", "1", *loose)
    assert (ran.code, ran.out, len(epochs)) == (0, "t.safetensors\n", 1), ran.err


def test_a_checkpoint_is_judged_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("eval", DEMO, "--input", "1,8,8", "--data", "digits", "--samples", "90")
    ran = run_here(capsys, *typed, "--json", "--max-params", "77754", "--max-macs", "774528")
    assert ran.code == 0
    assert json.loads(ran.out)["totals"] == {"params": 77754, "macs": 774528, "bytes": 313776}
    ran = run_here(capsys, *typed, "-q", "--max-params", "77753", "--min-accuracy", "0")
    assert (ran.code, float(ran.out) > 0.9) == (4, True)
    assert ran.err.startswith("error: --max-params 77,753 parameters is not met: it is 77,754")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("run m.pth --speedup 2 --min-accuracy 0.9", "--min-accuracy needs labelled data"),
        ("run m.pth --speedup 2 --min-agreement 0.9", "--min-agreement needs data"),
        ("run m.pth --speedup 2 --data noise --max-drop 1%", "--max-drop needs labels, and noise has none"),
        ("run m.pth --speedup 2 --max-params 5X", "--max-params 5X is not a number"),
        ("run m.pth --speedup 2 --data npz:x --finetune-epochs 1 --min-accuracy 0", "has no test part"),
        ("run m.pth --speedup 2 --data digits --dry-run --min-accuracy 0.9", "--dry-run measures nothing"),
        ("finetune m.pth --data digits --max-drop 1%", "--max-drop compares with the dense network"),
        ("finetune m.pth --data npz:x --min-accuracy 0.9", "--min-accuracy needs data to measure on"),
        ("sparsify m.pth --sparsify group-lasso --data npz:x --min-accuracy 0.9", "needs data to measure on"),
        ("eval m.pth --data digits --min-agreement 0.9", "--min-agreement compares with the dense network"),
        ("eval m.pth --data noise --against m.pth --min-accuracy 0.9", "--min-accuracy needs labels"),
    ],
)
def test_a_gate_that_cannot_be_judged_is_wrong_usage(
    typed: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("m.pth").write_bytes(b"x")
    ran = run_here(capsys, *typed.split())
    assert ran.code == 2
    assert message in ran.err.splitlines()[0]


@pytest.mark.parametrize("trains", [False, True])
def test_data_without_labels_is_found_when_it_is_opened(
    trains: bool, capsys: pytest.CaptureFixture[str], epochs: list[int]
) -> None:
    np.savez("bare.npz", x=np.zeros((8, 1, 8, 8), np.float32))
    more = (*TRAINED, "--eval-data", "npz:bare.npz") if trains else ()
    ran = run(capsys, "--data", "npz:bare.npz" if not trains else "digits", *more, "--min-accuracy", "0.9")
    assert (ran.code, epochs) == (2, [])
    assert ran.err.splitlines()[-2] == "error: --min-accuracy needs labels, and npz:bare.npz has none"
    assert not Path("s.json").exists()

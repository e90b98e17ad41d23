"""``--config`` and ``--job``: what reaches the API, and how several jobs end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Ran, run_here
from report_examples import report
from test_cli_run import FakeApi, api

from prunecli.errors import ImpossibleError, InputError
from prunecli.presets import preset

__all__ = ["api"]

FILE = """
seed = 7
round-to = 8

[job.fast]
checkpoint = "m.pth"
output = "fast.safetensors"
speedup = 2
max-ratio = 0.8
ignore = ["layer1.*"]
ratio-for = {"layer2.*" = 0.5}

[job.small]
checkpoint = "m.pth"
output = "small.safetensors"
params = 0.5
round-to = 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command is typed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.pth").write_bytes(b"weights")
    (tmp_path / "prune.toml").write_text(FILE, encoding="utf-8")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], typed: str) -> Ran:
    return run_here(capsys, *typed.split())


def only(api: FakeApi, *names: str) -> dict[str, Any]:
    (call,) = api.calls
    return {name: call.get(name) for name in names}


def test_a_job_is_what_would_be_typed(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "run --job fast").code == 0
    typed = (
        "run m.pth -o f.safetensors --speedup 2 --max-ratio 0.8 --ignore layer1.* --ratio-for layer2.*=0.5 "
        "--seed 7 --round-to 8"
    )
    assert run(capsys, typed).code == 0
    of_job, of_hand = api.calls
    assert {**of_job, "progress": None} == {**of_hand, "progress": None}
    assert api.saved[0] == (Path("fast.safetensors"), False)


def test_limits_are_numbers_or_texts(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "prune.toml").write_text(
        'checkpoint = "m.pth"\nspeedup = 2\ndata = "digits"\nmax-params = 5000000\n'
        '[job.a]\nmin-accuracy = 0.97\nmax-macs = "1.2G"\n'
    )
    run(capsys, "run --job a")
    assert only(api, "gates") == {
        "gates": {"max_params": 5_000_000, "max_macs": 1_200_000_000, "min_accuracy": 0.97}
    }


def test_what_is_typed_wins(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    typed = "run --config prune.toml --job fast --flops 0.3 --ignore fc --seed 1 -o o.safetensors"
    assert run(capsys, typed).code == 0
    assert only(api, "speedup", "flops", "ignore", "seed", "round_to") == {
        "speedup": None, "flops": 0.3, "ignore": ("fc",), "seed": 1, "round_to": 8,
    }  # fmt: skip
    assert api.saved == [(Path("o.safetensors"), False)]


def test_a_preset_gives_way_to_the_file(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.toml").write_text(
        'preset = "greg:fast"\ndata = "digits"\nsparsify-epochs = 3\n'
        '[job.a]\ncheckpoint = "m.pth"\nspeedup = 2\nscheme = "global"\n'
    )
    assert run(capsys, "run --config p.toml").code == 0
    known = preset("greg:fast", speedup=2)
    assert known["scheme"] == "local"
    assert only(api, "scheme", "sparsify_epochs", "sparsify", "repair") == {
        "scheme": "global", "sparsify_epochs": 3, "sparsify": known["sparsify"], "repair": known["repair"],
    }  # fmt: skip


def test_paths_are_relative_to_the_file(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    below = folder / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert run(capsys, "run --config ../prune.toml --job fast").code == 0
    assert only(api, "model_or_path") == {"model_or_path": Path("../m.pth")}
    assert api.saved == [(Path("../fast.safetensors"), False)]
    assert run(capsys, "run --config ../prune.toml --job fast -o typed.safetensors").code == 0
    assert api.saved[1] == (Path("typed.safetensors"), False)


def test_a_file_that_happens_to_be_there_is_not_read(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "run m.pth --speedup 2").code == 0
    assert only(api, "seed", "round_to") == {"seed": 0, "round_to": 1}


def test_the_top_alone_is_enough(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "top.toml").write_text("speedup = 3\nforce = true\n")
    assert run(capsys, "run m.pth --config top.toml").code == 0
    assert only(api, "speedup") == {"speedup": 3.0}
    assert api.saved == [(Path("m.pruned.safetensors"), True)]


def test_the_report_says_what_would_be_typed_without_the_file(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    command = json.loads(run(capsys, "run --job fast --seed 1 --force --json").out)["command"]
    assert command == [
        "prune", "run", "m.pth", "--speedup", "2.0", "--max-ratio", "0.8", "--round-to", "8", "--ignore",
        "layer1.*", "--ratio-for", "layer2.*=0.5", "--output", "fast.safetensors", "--force",
        "--json", "--seed", "1",
    ]  # fmt: skip
    # Typed, it asks for the same.
    assert run_here(capsys, *command[1:]).code == 0
    first, second = ({**call, "progress": None} for call in api.calls)
    assert first == second


def test_all_jobs_run_in_order(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "run --job all -q --force")
    assert (ran.code, ran.out, ran.err) == (0, "fast.safetensors\nsmall.safetensors\n", "")
    assert [(call.get("speedup"), call.get("params"), call["round_to"]) for call in api.calls] == [
        (2.0, None, 8), (None, 0.5, 4),
    ]  # fmt: skip
    ran = run(capsys, "run --job small --job fast --force --seed 3")
    assert ran.err.splitlines()[-2:] == ["job small: done", "job fast: done"]
    assert [call["seed"] for call in api.calls[2:]] == [3, 3]


def failing_once(api: FakeApi, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    import prunecli

    def prune(*arguments: Any, **options: Any) -> FakeApi:
        api.prune(*arguments, **options)
        if len(api.calls) == 1:
            raise error
        return api

    monkeypatch.setitem(prunecli.__dict__, "prune", prune)


def test_one_that_fails_stops_no_other(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(api, monkeypatch, ImpossibleError("too much", "less"))
    ran = run(capsys, "run --job all -q")
    assert (ran.code, ran.out) == (4, "small.safetensors\n")
    assert ran.err.splitlines() == [
        "error: job fast: too much", "hint: less", "job fast: failed, exit code 4", "job small: done",
    ]  # fmt: skip


def test_one_document_holds_all(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(api, monkeypatch, InputError("odd"))
    ran = run(capsys, "run --job all --json")
    document = json.loads(ran.out)
    assert (ran.code, document["schema"]) == (3, "prunecli.jobs/1")
    first, second = document["jobs"]
    assert first == {"name": "fast", "command": "run", "exit_code": 3, "error": "odd", "result": None}
    expected = replace(report(), command=tuple(second["result"]["command"])).to_json()
    assert second == {
        "name": "small", "command": "run", "exit_code": 0, "error": None,
        "result": json.loads(json.dumps(expected)),
    }  # fmt: skip


def test_what_is_wrong_with_one_is_that_jobs_error(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "fast.safetensors").write_bytes(b"there")
    ran = run(capsys, "run --job all -q")
    assert (ran.code, ran.out) == (2, "small.safetensors\n")
    assert ran.err.startswith("error: job fast: fast.safetensors exists\nhint: --force replaces it")
    ran = run(capsys, "run --job all --force --steps many")
    assert ran.code == 2
    assert "error: job fast: invalid value for '--steps'" in ran.err
    assert "job small: failed, exit code 2" in ran.err


@pytest.mark.parametrize("typed", ["-o one.safetensors", "--config same.toml"])
def test_two_that_would_write_one_file(
    typed: str, folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "same.toml").write_text(
        'checkpoint = "m.pth"\nforce = true\n[job.fast]\nspeedup = 2\n[job.small]\nflops = 0.1\n'
    )
    ran = run(capsys, f"run --job all {typed}")
    name, file = ("same.toml", "m.pruned") if "same" in typed else ("prune.toml", "one")
    assert ran.code == 2
    assert ran.err == (
        f"error: {name}: jobs fast and small would write the same file: {file}.safetensors\n"
        'hint: give each an output of its own, like output = "small.safetensors"\n'
    )
    assert not api.calls
    assert run(capsys, f"run --job all {typed} --dry-run").code == 0


@pytest.mark.parametrize(
    ("jobs", "message", "hint"),
    [
        (
            '[job.a]\nspeedup = 2\n[job.b]\nspeedup = 4\noutput = "sub/../m.pruned.safetensors"\n',
            "jobs a and b would write the same file: sub/../m.pruned.safetensors",
            "give each an output of its own",
        ),
        (
            '[job.a]\nspeedup = 2\noutput = "a.safetensors"\n'
            '[job.b]\nspeedup = 4\noutput = "b.safetensors"\nreport = ["b.md", "a.json"]\n',
            "jobs a and b would write the same file: a.json",
            "give each a report of its own",
        ),
        (
            'report = "r.md"\n[job.a]\ncommand = "score"\n[job.b]\ncommand = "score"\nreport = "r.md"\n',
            "jobs a and b would write the same file: r.md",
            "give each a report of its own",
        ),
    ],
)
def test_outputs_and_reports_that_coincide(
    jobs: str, message: str, hint: str, folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sub").mkdir()
    (folder / "prune.toml").write_text('checkpoint = "m.pth"\nforce = true\n' + jobs)
    ran = run(capsys, f"{'score' if 'score' in jobs else 'run'} --job all")
    first, second = ran.err.splitlines()
    assert (ran.code, ran.out, api.calls) == (2, "", [])
    assert first == f"error: prune.toml: {message}"
    assert second.startswith(f"hint: {hint}")


def test_one_format_for_all(folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "run --job all --json -q")
    assert (ran.code, ran.out, api.calls) == (2, "", [])
    assert ran.err.splitlines() == [
        "error: --json and -q each decide what is printed", "hint: give one of them",
    ]  # fmt: skip


def test_an_interrupt_ends_all(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_once(api, monkeypatch, KeyboardInterrupt())  # type: ignore[arg-type]
    ran = run(capsys, "run --job all")
    assert (ran.code, len(api.calls)) == (130, 1)


def test_torchrun_runs_one(
    folder: Path, api: FakeApi, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    ran = run(capsys, "run --job all")
    assert (ran.code, ran.err) == (
        2,
        "error: torchrun runs one job at a time\nhint: one of --job fast, small\n",
    )


@pytest.mark.parametrize(
    ("typed", "first", "second"),
    [
        ("run --job fst", "prune.toml has no job 'fst'", "did you mean fast?"),
        (
            "run --config prune.toml",
            "prune.toml has several jobs, and --job names none: fast, small",
            "--job fast",
        ),
        ("run --config x.toml", "no such file: x.toml", "--config FILE names another"),
        (
            "eval --job fast",
            "prune.toml: job fast is for prune run",
            "prune run --config prune.toml --job fast",
        ),
        ("run --job", "option '--job' requires an argument", "see prune"),
        ("run --job fast --speedupp 3", "no such option: --speedupp", "did you mean --speedup?"),
    ],
)
def test_wrong_usage(
    typed: str, first: str, second: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run(capsys, typed)
    error, hint = ran.err.splitlines()
    assert (ran.code, ran.out) == (2, "")
    assert error.startswith(f"error: {first}")
    assert hint.startswith(f"hint: {second}")


def test_help_reads_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run(capsys, "run --config x.toml --help")
    assert ran.code == 0
    assert "--config FILE" in ran.out

"""``prune.toml`` read: what is in it, what is wrong with it, and which job is meant."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from pages import blocks, missing_links, run_block

import prunecli.demo
from prunecli.cli import config
from prunecli.cli.app import command
from prunecli.cli.config import Config, Job
from prunecli.cli.jobs import Configured
from prunecli.errors import UsageError

COMMANDS = {name: each for name, each in command().commands.items() if isinstance(each, Configured)}


def read(folder: Path, text: str) -> Config:
    path = folder / "prune.toml"
    path.write_text(text, encoding="utf-8")
    return config.read(path, COMMANDS)


def test_the_top_holds_for_all_commands_that_have_the_key_and_tables_are_jobs(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        'seed = 7\nspeedup = 2\n[job.a]\ncheckpoint = "m.pth"\n[job.b]\ncommand = "eval"\nbatch-size = 9\n',
    )
    assert found.defaults["run"] == {"seed": 7, "speedup": 2}
    assert found.defaults["eval"] == {"seed": 7}
    assert found.defaults["inspect"] == {"seed": 7}
    assert found.jobs == (
        Job("a", "run", {"ckpt": str(tmp_path / "m.pth")}), Job("b", "eval", {"batch_size": 9}),
    )  # fmt: skip


def test_the_job_is_over_the_top_and_what_is_typed_over_both(tmp_path: Path) -> None:
    found = read(tmp_path, 'seed = 1\nsteps = 2\nignore = ["a"]\n[job.a]\nseed = 3\nignore = ["b"]\n')
    (job,) = found.jobs
    assert found.values(job, "run", ()) == {"seed": 3, "steps": 2, "ignore": ["b"]}
    assert found.values(job, "run", ("seed", "ignore")) == {"steps": 2}
    assert found.values(None, "run", ()) == {"seed": 1, "steps": 2, "ignore": ["a"]}


def test_a_target_takes_the_place_of_another_below_it(tmp_path: Path) -> None:
    found = read(
        tmp_path, 'speedup = 2\ncheckpoint = "m.pth"\n[job.a]\nparams = 0.5\n[job.b]\ninit = "random"\n'
    )
    first, second = found.jobs
    assert found.values(first, "run", ()).keys() == {"ckpt", "params"}
    assert found.values(second, "run", ()).keys() == {"speedup", "init"}
    assert found.values(first, "run", ("flops", "ckpt")) == {}
    # Two at one place are an error that the command itself finds.
    both = read(tmp_path, "[job.a]\nparams = 0.5\nflops = 0.5\n")
    assert both.values(both.jobs[0], "run", ()) == {"params": 0.5, "flops": 0.5}


def test_which_job_is_meant(tmp_path: Path) -> None:
    found = read(tmp_path, '[job.a]\n[job.b]\n[job.c]\ncommand = "eval"\n')
    a, b, c = found.jobs
    assert found.chosen(["b"], "run") == (b,)
    assert found.chosen(["b", "a", "b"], "run") == (b, a)
    assert found.chosen(["all"], "run") == (a, b)
    assert found.chosen(["all"], "eval") == found.chosen([], "eval") == (c,)
    assert found.chosen([], "inspect") == (None,)


@pytest.mark.parametrize(
    ("names", "command", "message", "hint"),
    [
        ([], "run", " has several jobs, and --job names none: fast, small", "--job fast, or --job all"),
        (["fst"], "run", " has no job 'fst'", "did you mean fast?"),
        (["zzz"], "run", " has no job 'zzz'", "its jobs: fast (run), small (run), q (eval)"),
        (["q"], "run", ": job q is for prune eval", "prune eval --config prune.toml --job q"),
        (["all"], "score", " has no job for prune score", "its jobs: fast (run), small (run), q (eval)"),
    ],
)
def test_no_such_job(
    names: list[str], command: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read(Path(), '[job.fast]\n[job.small]\n[job.q]\ncommand = "eval"\n')
    with pytest.raises(UsageError) as caught:
        found.chosen(names, command)
    assert (caught.value.message, caught.value.hint) == (f"prune.toml{message}", hint)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("speedupp = 2", ": unknown key 'speedupp'", "did you mean speedup?"),
        ("max_ratio = 0.8", ": unknown key 'max_ratio'", "did you mean max-ratio"),
        ("[jobs.fast]", ": unknown key 'jobs'", "did you mean job"),
        (
            "[job.fast]\nspeedupp = 2",
            ": job.fast: unknown key 'speedupp' of prune run",
            "did you mean speedup?",
        ),
        (
            "[job.q]\ncommand = 'eval'\nspeedup = 2",
            ": job.q: unknown key 'speedup' of prune eval",
            "prune run and prune sparsify have it",
        ),
        ("zzz = 1", ": unknown key 'zzz'", "keys are the options without dashes; see docs/config.md"),
        ("unsafe-load = true", ": unsafe-load cannot be set in a file", "type --unsafe-load"),
        (
            "[job.a]\nunsafe-load = false",
            ": job.a: unsafe-load cannot be set in a file",
            "type --unsafe-load",
        ),
        ("[job.a]\nunsafe_load = true", ": job.a: unsafe_load cannot be set in a file", "type --unsafe-load"),
        ("speedup = '2'", ': speedup = "2" is not a number', "like speedup = 0.5"),
        ("[job.a]\nspeedup = [2]", ": job.a: speedup = [2] is not a number", "like speedup = 0.5"),
        ("[job.a]\nseed = 2024-01-01", ': job.a: seed = "2024-01-01" is not a whole number', "like seed = 8"),
        ("job = 3", ": job holds tables of options", "[job.fast]"),
        ("[job]\nspeedup = 2", ": job holds tables of options", "[job.fast]"),
        ("[job.all]", ": job.all: no job can be called that", "--job all means all jobs"),
        ("[job.'a b']", ": job.a b: no job can be called that", "letters, digits"),
        ("[job.'$(x)']", ": job.$(x): no job can be called that", "letters, digits"),
        (
            "[job.a]\ncommand = 'runn'",
            ': job.a: command = "runn" is no command with jobs',
            "did you mean run?",
        ),
        ("[job.a]\ncommand = 3", ": job.a: command = 3 is no command with jobs", "one of inspect, score"),
        (
            "[job.a]\ncommand = 'ls'",
            ': job.a: command = "ls" is no command with jobs',
            "one of inspect, score",
        ),
        (
            "[job.a]\njson = true",
            ": job.a: json says how all that is done is printed",
            "set it above the jobs",
        ),
        ("[job.a]\nconfig = 'x'", ": job.a: unknown key 'config' of prune run", ""),
        ("speedup 2", " is not TOML: ", "a line is like speedup = 2"),
        ("speedup = 2\nspeedup = 3", " is not TOML: ", "a line is like speedup = 2"),
        ("x = " + "[" * 5000, "", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    text: str, message: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        read(Path(), text)
    assert caught.value.message.startswith(f"prune.toml{message}"), caught.value.message
    assert (caught.value.hint or "").startswith(hint), caught.value.hint


def test_no_file_a_folder_and_bytes_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        config.read(tmp_path / "x.toml", COMMANDS)
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        config.read(tmp_path, COMMANDS)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not UTF-8"):
        config.read(tmp_path / "b.toml", COMMANDS)


def test_the_example_of_the_page_is_a_file(tmp_path: Path) -> None:
    (example,) = blocks("docs/config.md", "toml")
    found = read(tmp_path, example.code)
    assert [(job.name, job.command) for job in found.jobs] == [
        ("fast", "run"), ("small", "run"), ("quality", "eval"),
    ]  # fmt: skip
    assert found.values(found.jobs[0], "run", ()).keys() == {
        "ckpt", "data", "input", "seed", "out", "speedup", "ignore",
    }  # fmt: skip
    assert not missing_links("docs/config.md")


def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], no_reload: None
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(prunecli.demo.__file__).with_name("digits_resnet8.safetensors"), "digits.safetensors")
    (example,) = blocks("docs/config.md", "toml")
    (tmp_path / "prune.toml").write_text(example.code, encoding="utf-8")
    (commands,) = blocks("docs/config.md", "sh")
    assert "job small: done" in run_block(commands, capsys)
    assert {path.name for path in tmp_path.iterdir()} == {
        "digits.safetensors", "prune.toml", "fast.safetensors", "fast.json", "small.safetensors",
        "small.json", "small.md",
    }  # fmt: skip
    assert json.loads((tmp_path / "fast.json").read_text())["command"][:3] == [
        "prune",
        "run",
        "digits.safetensors",
    ]


def test_the_table_of_the_page_says_what_keys_come_to(tmp_path: Path) -> None:
    """Its right column is TOML, and its left one what the values become."""
    page = (Path(__file__).parents[1] / "docs" / "config.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `--")]
    assert len(rows) == 8
    for typed, keys in rows:
        words = shlex.split(typed.strip().strip("`"))
        name = words[0][2:]
        of = "finetune" if name == "milestones" else "run"
        for toml in keys.split("`")[1::2]:
            assert config.tomllib.loads(toml).keys() == {name}
            value = read(tmp_path, toml).defaults[of][name.replace("-", "_")]
            given = [word for word in words if word != words[0]]
            many = value if isinstance(value, list) else [value]
            assert many == [True] or [str(one) for one in many] == given[: len(many)]

"""Completion scripts: current, and right when a shell asks them."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cli_runner import ROOT, run_here

from prunecli.cli import completions, names
from prunecli.cli.app import command

DIRECTORY = ROOT / "completions"


@pytest.mark.parametrize("shell", names.SHELLS)
def test_the_shipped_script_is_current(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    written = (DIRECTORY / completions.FILE_NAMES[shell]).read_text(encoding="utf-8")
    assert written == completions.script(command(), shell), (
        "python -m prunecli.cli.completions --write completions/"
    )
    assert run_here(capsys, "--show-completion", shell).out == written


@pytest.mark.parametrize("shell", names.SHELLS)
def test_every_command_and_option_is_there(shell: str) -> None:
    script = completions.script(command(), shell)
    for name, part in command().commands.items():
        assert name in script
        for parameter in part.params:
            for spelling in parameter.opts if parameter.param_type_name == "option" else ():
                assert (spelling.lstrip("-") if shell == "fish" else spelling) in script


def bash(*words: str) -> list[str]:
    """What bash offers for the last of ``words``."""
    line = " ".join(f"'{word}'" for word in words)
    script = (
        f"source {DIRECTORY / 'prune.bash'}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _prune; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_offers_what_fits() -> None:
    assert bash("prune", "") == [
        "inspect",
        "explain",
        "score",
        "run",
        "compact",
        "finetune",
        "sparsify",
        "verify",
        "eval",
        "ls",
        "demo",
        "--version",
        "--show-completion",
        "-h",
        "--help",
    ]
    assert bash("prune", "in") == ["inspect"]
    assert bash("prune", "run", "--crit") == ["--criterion"]
    assert bash("prune", "run", "--criterion", "") == list(names.CRITERIA)
    assert bash("prune", "run", "--criterion", "mag") == ["magnitude-l1", "magnitude-l2"]
    assert bash("prune", "run", "--repair", "") == list(names.REPAIR)
    assert bash("prune", "run", "--data", "di") == ["digits"]
    assert bash("prune", "run", "--transform", "im") == ["imagenet"]
    assert bash("prune", "run", "--speedup", "") == []
    assert bash("prune", "run", "pyproj") == ["pyproject.toml"]
    assert bash("prune", "run", "x.pth", "-o", "pyproj") == ["pyproject.toml"]
    assert bash("prune", "ls", "") == list(names.LISTS)
    assert bash("prune", "verify", "--a") == ["--against", "--arch"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_offers_what_fits() -> None:
    def fish(line: str) -> list[str]:
        script = f"source {DIRECTORY / 'prune.fish'}; complete -C '{line}'"
        done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
        return [offer.split("\t")[0] for offer in done.stdout.splitlines()]

    assert fish("prune run --criterion ") == sorted(names.CRITERIA)
    assert fish("prune ls ") == sorted(names.LISTS)
    assert "--against" in fish("prune verify --")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_parses(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    path = DIRECTORY / completions.FILE_NAMES[shell]
    subprocess.run([shell, "-n", str(path)], check=True)

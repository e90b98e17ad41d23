"""Completion scripts: current, and right when a shell asks them."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runner import ROOT, run_here
from test_cli_offers import HOSTILE, safetensors

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
        "diff",
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a ``prune`` for the scripts to ask, and files to ask about."""
    folder = tmp_path_factory.mktemp("completion")
    program = folder / "bin" / "prune"
    program.parent.mkdir()
    entry = "import sys; from prunecli.cli import main; sys.exit(main())"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -c "{entry}" "$@"\n')
    program.chmod(0o755)
    names_of_layers = ("conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1", *HOSTILE)
    safetensors(folder / "m.safetensors", {f"{name}.weight": [2, 2] for name in names_of_layers})
    safetensors(folder / "a b.safetensors", {"spaced.weight": [2, 2]})
    (folder / "prune.toml").write_text("[job.fast]\n[job.small]\n")
    return folder


def with_prune(folder: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def typed(folder: Path, line: str) -> list[str]:
    """What bash offers once ``line`` is typed, cut into words as bash cuts it: at blanks, ':' and '='."""
    script = (
        f"source {DIRECTORY / 'prune.bash'}; COMP_WORDS=({_cut(line)}); "
        'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _prune; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=folder, check=True,
        env=with_prune(folder),
    )  # fmt: skip
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def _cut(line: str) -> str:
    words = [part for word in line.split(" ") for part in (_pieces(word) if word else [""])]
    return " ".join(f"'{word}'" for word in words)


def _pieces(word: str) -> list[str]:
    return [piece for piece in word.replace(":", "\0:\0").replace("=", "\0=\0").split("\0") if piece]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_asks_for_what_is_in_files(folder: Path) -> None:
    assert typed(folder, "prune run m.safetensors --ignore ") == [
        "conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1",
    ]  # fmt: skip
    assert typed(folder, "prune run m.safetensors --ratio-for layer1") == ["layer1.conv1", "layer1.conv2"]
    assert typed(folder, "prune run m.safetensors --only=layer2") == ["layer2.conv1"]
    assert typed(folder, "prune explain m.safetensors con") == ["conv1"]
    assert typed(folder, "prune explain m.safe") == ["m.safetensors"]
    assert typed(folder, "prune run --job ") == ["fast", "small", "all"]
    assert typed(folder, "prune run --config prune.toml --job=f") == ["fast"]
    assert typed(folder, "prune run --config prune.t") == ["prune.toml"]
    assert not (folder / "hit").exists()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_says_only_what_is_after_the_colon(folder: Path) -> None:
    assert typed(folder, "prune run --arch torchv") == ["torchvision:"]
    assert typed(folder, "prune run --arch torchvision:resnet5") == ["resnet50"]
    assert typed(folder, "prune run --arch=torchvision:resnet5") == ["resnet50"]
    assert "alexnet" in typed(folder, "prune run --arch torchvision:")
    assert typed(folder, "prune run --preset greg:f") == ["fast"]
    assert typed(folder, "prune run --preset greg") == ["greg:cifar", "greg:imagenet", "greg:fast"]
    assert typed(folder, "prune run --data safetensors:m.") == ["m.safetensors"]
    assert typed(folder, "prune run --data no") == ["noise"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_keeps_names_with_spaces_in_one_piece(folder: Path) -> None:
    assert typed(folder, "prune run a") == ["a b.safetensors"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_a_tab_at_a_prompt(folder: Path) -> None:
    """The one test in which bash itself cuts the line into words and puts the rest in."""
    line = "prune run --arch torchvision:resnet5"
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
        env={**with_prune(folder), "PS1": "> ", "TERM": "dumb"}, start_new_session=True,
    )  # fmt: skip
    try:
        os.write(ours, f"source {DIRECTORY / 'prune.bash'}\n{line}\t".encode())
        assert _read_until(ours, f"> {line}0")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


def _read_until(ours: int, *ends: str) -> bool:
    seen, deadline = "", time.monotonic() + 30
    while not seen.endswith(ends) and time.monotonic() < deadline:
        if select.select([ours], [], [], 1)[0]:
            seen += os.read(ours, 4096).decode(errors="replace")
    return seen.endswith(ends)


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_fish_offers_what_fits(folder: Path) -> None:
    def fish(line: str) -> list[str]:
        script = f"source {DIRECTORY / 'prune.fish'}; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=folder, check=True,
            env=with_prune(folder),
        )  # fmt: skip
        return [offer.split("\t")[0] for offer in done.stdout.splitlines()]

    assert fish("prune run --criterion ") == sorted(names.CRITERIA)
    assert fish("prune ls ") == sorted(names.LISTS)
    assert "--against" in fish("prune verify --")
    assert fish("prune run --arch torchvision:resnet5") == ["torchvision:resnet50"]
    assert fish("prune run m.safetensors --ignore layer1") == ["layer1.conv1", "layer1.conv2"]
    assert "conv1" in fish("prune explain m.safetensors con")
    assert fish("prune run --job f") == ["fast"]
    assert not (folder / "hit").exists()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh")
@pytest.mark.parametrize(
    ("line", "rest"),
    [
        ("prune run --arch torchvision:resnet5", "0"),
        ("prune run m.safetensors --ignore layer2", ".conv1"),
        ("prune explain m.safetensors con", "v1"),
        ("prune run --job f", "ast"),
    ],
)
def test_a_tab_at_the_prompt_of_zsh(line: str, rest: str, folder: Path) -> None:
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder,
        env={**with_prune(folder), "PS1": "> ", "TERM": "dumb"}, start_new_session=True,
    )  # fmt: skip
    try:
        start = f"autoload -U compinit; compinit -u -D; source {DIRECTORY / '_prune'}"
        os.write(ours, f"{start}\n{line}\t".encode())
        assert _read_until(ours, f"{line}{rest}", f"{line}{rest} ")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_parses(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    path = DIRECTORY / completions.FILE_NAMES[shell]
    subprocess.run([shell, "-n", str(path)], check=True)

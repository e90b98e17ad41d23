"""Every command of the app holds to the same conventions. What is new is held to them by being there.

The rule of the help: a screen of 24 lines and 80 columns shows what a command does and examples of it; the
options follow, heading by heading. The whole list of commands is one screen.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import ROOT, Ran, run_here

from prunecli.cli.app import command
from prunecli.cli.examples import EXAMPLES
from prunecli.cli.keys import keys_of
from prunecli.cli.usage import PARSER_ERROR, as_usage_error
from prunecli.errors import PruneError
from prunecli.fresh import RELOAD
from prunecli.report.model import Proof

APP = command()
COMMANDS: dict[str, Any] = APP.commands
NAMES = list(COMMANDS)
LINES, COLUMNS = 24, 80

DEMO = ROOT / "prunecli" / "demo" / "digits_resnet8.safetensors"
WORK = {
    "inspect": "dense.safetensors",
    "explain": "dense.safetensors conv1",
    "score": "dense.safetensors --criterion lamp,magnitude-l1 --correlate",
    "run": "dense.safetensors --speedup 2 --repair none -o NEW.safetensors",
    "finetune": "dense.safetensors --data npz:few.npz --epochs 1 -o NEW.safetensors",
    "sparsify": ("dense.safetensors --sparsify group-lasso --data npz:few.npz --epochs 1 -o NEW.safetensors"),
    "verify": "small.safetensors",
    "eval": "dense.safetensors --data digits --samples 32",
    "compact": "dense.safetensors -o NEW.safetensors",
    "diff": "dense.safetensors small.safetensors",
    "ls": "criteria",
    "demo": "-o NEW.safetensors",
}
"""A quick use of each; NEW is another name each time. ``demo`` is slow, and has a test of its own."""
RUN_HERE = [name for name in NAMES if name != "demo"]

OTHER_WORDS = {
    "--against": "the same file, the dense checkpoint, for another purpose in each command",
    "--batch-size": "in training it shapes the result, elsewhere only the time",
    "--criterion": "score compares several",
    "--loss": "that of a criterion may compare with --against",
    "--output": "says its default, which names what was done",
    "--quiet": "says what is left where the result is no file",
    "--report": "scores have kinds of their own",
    "--samples": "says its default, which calibration has and training has not",
    "--sparsify": "before a cut, or as the whole job",
    "--sparsify-arg": "in a whole job of their own the settings of training are options",
}
"""Options whose help differs from command to command, and why."""
OTHER_METAVAR = {"--criterion": "score compares several"}
OTHER_PANEL = ("--against", "--batch-size", "--criterion", "--loss", "--sparsify", "--sparsify-arg")
WITHOUT_QUIET = {
    "inspect": "the result is a table, and no file",
    "ls": "the result is a list already",
}


def options(name: str) -> list[Any]:
    return [each for each in COMMANDS[name].params if each.param_type_name == "option"]


def spelled(option: Any) -> str:
    return str(max(option.opts, key=len))


def has(name: str, option: str) -> bool:
    return any(spelled(each) == option for each in options(name))


def help_of(name: str) -> list[str]:
    context = APP.make_context("prune", [], resilient_parsing=True, terminal_width=COLUMNS)
    if not name:
        return str(APP.get_help(context)).splitlines()
    inner = COMMANDS[name].make_context(
        name, [], parent=context, resilient_parsing=True, terminal_width=COLUMNS
    )
    return str(COMMANDS[name].get_help(inner)).splitlines()


# Help


def test_the_list_of_commands_is_one_screen_and_nothing_is_cut() -> None:
    lines = help_of("")
    assert len(lines) <= LINES
    assert all(len(line) <= COLUMNS for line in lines)
    assert not [line for line in lines if line.endswith("...") and not line.startswith("Usage:")]


@pytest.mark.parametrize("name", NAMES)
def test_a_screen_says_what_it_does_and_shows_it(name: str) -> None:
    lines = help_of(name)
    screen = lines[:LINES]
    assert lines[0].startswith(f"Usage: prune {name} ")
    assert COMMANDS[name].help.split("\n\n")[0].split()[0] in screen[2]
    start = screen.index("Examples:")
    shown = [line.strip() for line in screen[start + 1 : screen.index("", start)]]
    assert shown == list(EXAMPLES[name])
    assert all(len(line) <= COLUMNS for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_its_examples_are_commands(name: str) -> None:
    for line in EXAMPLES[name]:
        program, first, *rest = shlex.split(line, comments=True)
        assert (program, first) == ("prune", name)
        if "--config" not in rest:
            COMMANDS[name].make_context(name, list(rest))


@pytest.mark.parametrize("name", NAMES)
def test_every_exit_code_is_in_the_help_and_on_the_page(name: str) -> None:
    codes = {each.exit_code for each in PruneError.__subclasses__()} | {0, 130}
    text = " ".join(help_of(name)).partition("Exit codes: ")[2]
    assert {int(code) for code in re.findall(r"\b(\d+) ", text)} == codes
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == codes | {1}


def test_every_schema_that_is_printed_is_on_the_page() -> None:
    """The two others are in files: the recipe in the weights, and the state of a training."""
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("cli.md", "config.md"))
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "prunecli").rglob("*.py"))
    found = set(re.findall(r'"(prunecli\.[a-z-]+/\d+)"', source)) - {
        "prunecli.recipe/1",
        "prunecli.training/1",
    }
    assert found <= set(re.findall(r"prunecli\.[a-z-]+/\d+", pages))


# Options


def test_one_name_is_one_option_everywhere() -> None:
    words, metavars, kinds, panels = (defaultdict(set) for _ in range(4))
    for name in NAMES:
        keys = {f"--{key.name}": key for key in keys_of(COMMANDS[name]).values()}
        for each in options(name):
            option = spelled(each)
            words[option].add(each.help)
            metavars[option].add(each.metavar)
            panels[option].add(each.rich_help_panel)
            if option in keys:
                kinds[option].add((keys[option].kind, keys[option].many, tuple(sorted(each.opts))))

    def differing(found: dict[str, set[Any]]) -> set[str]:
        return {option for option, ways in found.items() if len(ways) > 1}

    assert differing(kinds) == set()
    assert differing(metavars) == set(OTHER_METAVAR)
    assert differing(words) == set(OTHER_WORDS)
    assert differing(panels) == set(OTHER_PANEL)


@pytest.mark.parametrize("name", NAMES)
def test_spellings_have_one_form(name: str) -> None:
    for each in options(name):
        assert all(re.fullmatch(r"--[a-z]+(-[a-z]+)*|-[a-z]", one) for one in each.opts)
        assert spelled(each).startswith("--")
        assert each.is_flag or each.metavar, spelled(each)
        assert each.help.endswith("."), spelled(each)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_json_and_all_but_the_listed_have_q(name: str) -> None:
    assert has(name, "--json")
    assert has(name, "--quiet") != (name in WITHOUT_QUIET)


# Printing


def test_nothing_prints_but_the_one_sink() -> None:
    """The two scripts that made the demo's files aside, which no command runs, and the answer of one process
    to another.
    """
    printing = set()
    for path in sorted((ROOT / "prunecli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            function = node.func if isinstance(node, ast.Call) else None
            printed = isinstance(function, ast.Name) and function.id == "print"
            if printed or (isinstance(node, ast.Attribute) and node.attr == "stdout"):
                printing.add(str(path.relative_to(ROOT / "prunecli")))
    assert printing == {"cli/output.py", "demo/make_data.py", "demo/train.py", "processes.py"}


@pytest.fixture(scope="module")
def folder(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conventions")
    shutil.copy(DEMO, folder / "dense.safetensors")
    shutil.copy(saved, folder / "small.safetensors")
    pictures = np.random.default_rng(0).random((16, 1, 32, 32), dtype=np.float32)
    np.savez(folder / "few.npz", x=pictures, y=np.arange(16) % 10)
    return folder


@pytest.fixture
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch, no_reload: None) -> Iterator[Path]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("prunecli.checking.reload_proof", lambda *_, **__: Proof(RELOAD, True))
    yield folder


def work(capsys: pytest.CaptureFixture[str], name: str, *more: str) -> tuple[Ran, list[str]]:
    """What the command prints, and the files that are new."""
    before = set(Path().iterdir())
    new = f"{name}{len(before)}"
    ran = run_here(capsys, name, *shlex.split(WORK[name].replace("NEW", new)), *more)
    return ran, sorted(path.name for path in set(Path().iterdir()) - before)


@pytest.mark.parametrize("name", RUN_HERE)
def test_json_is_one_document_and_nothing_else(
    name: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, _ = work(capsys, name, "--json")
    assert ran.code == 0, ran.err
    assert re.fullmatch(r"prunecli\.[a-z-]+/\d+", json.loads(ran.out)["schema"])


@pytest.mark.parametrize("name", [name for name in RUN_HERE if name not in WITHOUT_QUIET])
def test_q_is_one_path_or_what_the_help_says(
    name: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, new = work(capsys, name, "-q")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    quiet = next(each for each in options(name) if spelled(each) == "--quiet")
    if quiet.help == "Print only the output path.":
        assert ran.out == f"{shlex.split(WORK[name])[0] if name == 'verify' else new_output(new)}\n"
        return
    lines = ran.out.splitlines()
    assert lines
    # Names and numbers alone, for a script: no headings, no frames, no spaces to align.
    assert not [line for line in lines if re.search(r"  |[│─━┃]", line)]


def new_output(new: list[str]) -> str:
    (output,) = (name for name in new if name.endswith(".safetensors"))
    return output


@pytest.mark.parametrize("name", RUN_HERE)
def test_a_table_is_for_stdout_and_all_else_is_not(
    name: str, inside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, _ = work(capsys, name)
    assert ran.code == 0, ran.err
    assert ran.out.strip()
    assert not re.search(r"^(note|error|hint|warning): ", ran.out, re.MULTILINE)
    assert not re.search("\x1b", ran.out + ran.err), "colour goes to a terminal"
    assert all(re.match(r"(note|epoch \d+ of \d+): ", line) for line in ran.err.splitlines()), ran.err


# Wrong usage


def wrong(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    ran = run_here(capsys, *words)
    assert (ran.code, ran.out) == (2, "")
    error, hint = ran.err.splitlines()
    return error.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.mark.parametrize("name", NAMES)
def test_a_misspelt_option_has_a_hint(name: str) -> None:
    """Asked of the parser itself, since there are hundreds; ``test_cli_main`` has one on the whole way."""
    context = APP.make_context("prune", [], resilient_parsing=True)
    for each in options(name):
        option = spelled(each)
        with pytest.raises(PARSER_ERROR) as caught:
            COMMANDS[name].make_context(name, [f"{option}x", "1"], parent=context)
        error = as_usage_error(caught.value)
        assert (error.message, error.exit_code) == (f"no such option: {option}x", 2)
        assert error.hint is not None
        assert error.hint.startswith("did you mean ")
        assert option in error.hint


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_said(
    name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [word for word in shlex.split(WORK[name]) if word in ("dense.safetensors", "small.safetensors")]
    if not files:
        assert not [
            each
            for each in COMMANDS[name].params
            if each.metavar in ("CKPT", "[CKPT]", "OUT") and each.param_type_name == "argument"
        ]
        return
    error, hint = wrong(capsys, name, *shlex.split(WORK[name].replace("NEW", "new")))
    assert (error, hint) == (f"no such file: {files[0]}", "check the path of the checkpoint")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_argument_is_said(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = next((each for each in COMMANDS[name].params if each.param_type_name == "argument"), None)
    if first is None:
        assert name == "demo"
        return
    error, hint = wrong(capsys, name)
    assert error == f"missing argument '{first.metavar.strip('[]')}'"
    assert hint == f"see prune {name} --help"


@pytest.mark.parametrize("name", NAMES)
def test_one_argument_too_many(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [each for each in COMMANDS[name].params if each.param_type_name == "argument"]
    error, hint = wrong(capsys, name, *("x" for _ in arguments), "surplus")
    assert error.startswith("got unexpected extra argument")
    assert "surplus" in error
    assert hint == f"see prune {name} --help"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_QUIET])
def test_json_and_q_together(name: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error, hint = wrong(capsys, name, *shlex.split(WORK[name].replace("NEW", "both")), "--json", "-q")
    assert (error, hint) == ("--json and -q each decide what is printed", "give one of them")


@pytest.mark.parametrize("name", [name for name in NAMES if has(name, "--output")])
def test_what_is_there_is_not_replaced(name: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (inside / "kept.safetensors").write_bytes(b"kept")
    error, hint = wrong(capsys, name, *shlex.split(WORK[name].replace("NEW", "kept")))
    assert error == "kept.safetensors exists"
    assert "--force" in hint
    assert (inside / "kept.safetensors").read_bytes() == b"kept"


@pytest.mark.parametrize("name", [name for name in NAMES if has(name, "--seed")])
def test_a_number_that_is_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(WORK[name].replace("NEW", "new"))
    error, hint = wrong(capsys, name, *words, "--seed", "many")
    assert error.startswith("invalid value for '--seed'")
    assert hint == f"see prune {name} --help"

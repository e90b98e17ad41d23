"""Errors at the edge: one line, a hint, the exit code of the class."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli_runner import run_fresh, run_here

import prunecli
from prunecli.errors import ImpossibleError, InputError, OutputError, PruneError, UsageError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    return path


def failing(error: BaseException) -> object:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("wrong", "so"), 2),
        (InputError("wrong", "so"), 3),
        (ImpossibleError("wrong", "so"), 4),
        (OutputError("wrong", "so"), 5),
    ],
)
def test_every_class_has_its_exit_code(
    error: PruneError,
    code: int,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(prunecli.__dict__, "inspect", failing(error))
    ran = run_here(capsys, "inspect", checkpoint)
    assert (ran.code, ran.out, ran.err) == (code, "", "error: wrong\nhint: so\n")


def test_a_message_stays_on_one_line_whatever_is_in_it(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prunecli.__dict__, "inspect", failing(InputError("tensor 'a\n\x1b[2Jb' is odd")))
    ran = run_here(capsys, "inspect", checkpoint)
    assert ran.err == "error: tensor 'a \\x1b[2Jb' is odd\n"


def test_an_interrupt_is_130(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prunecli.__dict__, "inspect", failing(KeyboardInterrupt()))
    ran = run_here(capsys, "inspect", checkpoint)
    assert (ran.code, ran.err) == (130, "error: interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_so_is_any_signal_that_asks_for_an_end(
    number: signal.Signals,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setitem(prunecli.__dict__, "inspect", lambda *_, **__: signal.raise_signal(number))
    ran = run_here(capsys, "inspect", checkpoint)
    assert (ran.code, ran.out, ran.err) == (130, "", "error: interrupted\n")
    assert signal.getsignal(number) == before


def test_an_interrupt_that_something_took_for_an_error_is_one_still(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def inspect(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setitem(prunecli.__dict__, "inspect", inspect)
    ran = run_here(capsys, "inspect", checkpoint)
    assert (ran.code, ran.err) == (130, "error: interrupted\n")
    monkeypatch.setitem(prunecli.__dict__, "inspect", failing(ImportError("not found")))
    with pytest.raises(ImportError, match="not found"):
        run_here(capsys, "inspect", checkpoint)


def test_nobody_needs_to_be_there_to_be_told(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGHUP the terminal is gone."""
    monkeypatch.setitem(prunecli.__dict__, "inspect", failing(KeyboardInterrupt()))
    monkeypatch.setattr("prunecli.cli.output.error", failing(OSError(5, "Input/output error")))
    assert run_here(capsys, "inspect", checkpoint).code == 130


def test_torchrun_ends_what_it_started(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a signal, which only the training itself answers, and once for all processes."""
    seen, before = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("WORLD_SIZE", "2")

    def inspect(*_: object, **__: object) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))
        raise InputError("wrong")

    monkeypatch.setitem(prunecli.__dict__, "inspect", inspect)
    run_here(capsys, "inspect", checkpoint)
    assert seen == [before]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["inpsect"], "no such command: inpsect", "did you mean inspect?"),
        (["frobnicate"], "no such command: frobnicate", "see prune --help"),
        (["run", "--spedup", "2"], "no such option: --spedup", "did you mean --speedup"),
        (["run"], "missing argument 'CKPT'", "see prune run --help"),
        (["run", "x", "--steps", "many"], "invalid value for '--steps'", "see prune run --help"),
        (["run", "x", "--speedup"], "option '--speedup' requires an argument", "see prune"),
        (["inspect", "a", "b"], "got unexpected extra argument", "see prune inspect --help"),
        (["--show-completion", "bsh"], "unknown shell 'bsh'", "did you mean bash"),
        (["--show-completion=bsh"], "unknown shell 'bsh'", "did you mean bash"),
        (["--show-completion"], "--show-completion needs the name of a shell", "one of bash, zsh, fish"),
        (["--versoin"], "no such option: --versoin", "did you mean --version?"),
    ],
)
def test_parser_errors_have_the_same_form(
    arguments: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = run_here(capsys, *arguments)
    first, second = ran.err.splitlines()
    assert ran.code == 2
    assert ran.out == ""
    assert first.lower().startswith(f"error: {message}".lower())
    assert second.startswith(f"hint: {hint}")


def test_a_path_that_no_system_takes_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys, "inspect", "x" * 10_000)
    assert (ran.code, ran.out) == (2, "")
    assert max(map(len, ran.err.splitlines())) < 200


def test_without_arguments_there_is_help_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_here(capsys)
    assert ran.code == 2
    assert ran.out == ""
    assert "Commands:" in ran.err


def test_help_and_version_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--version").out == f"prune {prunecli.__version__}\n"
    ran = run_here(capsys, "run", "-h")
    assert ran.code == 0
    assert "--speedup X" in ran.out


_DEFECT = """
import sys, prunecli
from prunecli.cli import main
def inspect(*_, **__): raise RuntimeError("two\\nlines")
prunecli.inspect = inspect
sys.exit(main())
"""


def test_a_defect_is_one_line_and_exit_1(checkpoint: Path) -> None:
    ran = run_fresh("inspect", checkpoint, code=_DEFECT)
    assert ran.code == 1
    assert ran.err == (
        "error: internal error: RuntimeError: two lines\nhint: set PRUNE_DEBUG=1 to see where it comes from\n"
    )


def test_the_traceback_is_there_when_asked_for(checkpoint: Path) -> None:
    assert "Traceback" in run_fresh("inspect", checkpoint, code=_DEFECT, PRUNE_DEBUG="1").err
    ran = run_fresh("inspect", "missing.pth", PRUNE_DEBUG="1")
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-2] == "error: no such file: missing.pth"
    assert ran.code == 2


_NOISY = """
import sys, warnings, prunecli
from prunecli.cli import main
from prunecli.errors import InputError
def inspect(*_, **__):
    warnings.warn("deprecated", FutureWarning)
    raise InputError("wrong")
prunecli.inspect = inspect
sys.exit(main())
"""


def test_warnings_of_libraries_do_not_reach_the_user(checkpoint: Path) -> None:
    assert run_fresh("inspect", checkpoint, code=_NOISY).err == "error: wrong\n"

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import ROOT
from rich.text import Text

from prunecli.cli import output


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_and_not_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for stream, variables, coloured in (
        (_Terminal(), {}, True),
        (_Terminal(), {"NO_COLOR": "1"}, False),
        (_Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ):
        with monkeypatch.context() as context:
            context.setattr(sys, "stderr", stream)
            for name, value in variables.items():
                context.setenv(name, value)
            output.error("wrong", None)
        assert ("\033[" in stream.getvalue()) is coloured
        assert "wrong" in stream.getvalue()


def test_notes_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    output.notes(["a", "b", "a"])
    assert capsys.readouterr().err == "note: a\nnote: b\n"


def test_no_progress_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(quiet=False) as tell:
        assert tell is None
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with output.progress(quiet=True) as tell:
        assert tell is None
    with output.progress(quiet=False) as tell:
        assert tell is not None
        tell("scoring \x1b[2J")
    assert "\x1b[2J" not in stream.getvalue()


def test_results_go_to_stdout_without_trailing_spaces(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    output.show(Text("a   "), Text("word " * 60))
    printed = capsys.readouterr()
    assert printed.out == "a\n" + ("word " * 60).rstrip() + "\n"
    assert printed.err == ""


def test_documents_are_strict_json(capsys: pytest.CaptureFixture[str]) -> None:
    output.document({"name": "ä\udcff"})
    assert json.loads(capsys.readouterr().out) == {"name": "ä\udcff"}
    with pytest.raises(ValueError, match="JSON"):
        output.document({"error": float("nan")})


def test_a_path_is_printed_byte_for_byte() -> None:
    code = "from pathlib import Path; import os; from prunecli.cli import output; output.prepare_streams(); "
    code += "output.path(Path(os.fsdecode(b'a\\xff.safetensors')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout == b"a\xff.safetensors\n"


def test_at_a_terminal_a_path_is_a_name_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stream = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    output.path(Path("a\x1b[2J.safetensors"))
    stream.seek(0)
    assert stream.read() == "a\\x1b[2J.safetensors\n"


def test_a_reader_that_leaves_is_not_a_failure(tmp_path: Path) -> None:
    code = (
        "import sys; from prunecli.cli import output\n"
        "sys.stdin.readline()\n"
        "output.text('x' * 1_000_000); output.text('more'); sys.stderr.write('done')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ),
    )
    with process:
        assert process.stdout and process.stdin and process.stderr
        process.stdout.close()
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.stderr.read() == b"done"
    assert process.returncode == 0


def test_what_is_printed_during_the_work_is_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with output.progress(quiet=False):
        print("from forward")
    output.text("the result")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("the result\n", "from forward\n")


def test_rows_are_values_between_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    output.rows([])
    assert capsys.readouterr().out == ""
    output.rows([("conv\t1\n", 3, "lamp", 0.1), ("b", 0, "lamp", -2.5e-30)])
    assert capsys.readouterr().out == "conv 1\t3\tlamp\t0.1\nb\t0\tlamp\t-2.5e-30\n"


def test_lines_of_epochs_stay_on_a_terminal_and_go_to_stderr_elsewhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with output.epochs(quiet=False) as (progress, line):
        assert progress is None
        line("epoch 1\x1b[2J")
    assert capsys.readouterr() == ("", "epoch 1\\x1b[2J\n")
    with output.epochs(quiet=True) as (progress, line):
        line("epoch 1")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with output.epochs(quiet=False) as (progress, line):
        assert progress is not None
        progress("step 3")
        line("epoch 1")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "epoch 1\n" in printed.err


def test_documents_are_kept_where_one_is_to_hold_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with output.collected() as kept:
        output.document({"a": 1})
        output.document({"b": 2})
    assert (kept, capsys.readouterr().out) == ([{"a": 1}, {"b": 2}], "")
    with output.collected(wanted=False) as kept:
        output.document({"a": 1})
    assert (kept, json.loads(capsys.readouterr().out)) == ([], {"a": 1})

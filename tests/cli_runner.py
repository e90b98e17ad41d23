"""Runs the command in this process, or in a fresh one, and hands back what a user would see."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from prunecli.cli import main

ROOT = Path(__file__).resolve().parent.parent
_ENTRY = "import sys; from prunecli.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    capsys.readouterr()
    hook = sys.excepthook
    try:
        code = main([str(argument) for argument in arguments])
    finally:
        sys.excepthook = hook
    printed = capsys.readouterr()
    return Ran(code, printed.out, printed.err)


def run_fresh(*arguments: object, code: str = _ENTRY, **environment: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)

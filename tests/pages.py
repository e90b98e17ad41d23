"""Pages of the documentation as tests: their code blocks, and what runs them as typed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_runner import run_here

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Block:
    """A fenced block, and the lines of output that the page shows after it."""

    language: str
    code: str
    shown: tuple[str, ...] = ()

    @property
    def file(self) -> str | None:
        """The name in the first line, where the block is a file and not a script."""
        found = re.match(r"# (\w+\.py)\n", self.code)
        return found[1] if found else None


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of ``page`` in order; a ``text`` block is what the one before it shows."""
    found: list[Block] = []
    for kind, code in re.findall(r"^```(\w+)\n(.*?)^```", read(page), flags=re.MULTILINE | re.DOTALL):
        if kind == "text":
            found[-1] = Block(found[-1].language, found[-1].code, tuple(code.splitlines()))
        else:
            found.append(Block(kind, code))
    return [block for block in found if language in (None, block.language)]


def missing_links(page: str) -> list[str]:
    links = re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", read(page))
    return [link for link in links if not ((ROOT / page).parent / link).exists()]


def run_apart(command: list[str], folder: Path, *packages: Path) -> subprocess.CompletedProcess[str]:
    """``command`` in ``folder``, with the ``prune`` of this environment first on the path, and with what is
    installed in ``packages``.
    """
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *packages)))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def run_block(block: Block, capsys: pytest.CaptureFixture[str]) -> str:
    """Write, execute or run ``block`` in the working directory, in this process; returns all it prints. A
    command fails exactly where the page shows an error.
    """
    if block.file is not None:
        Path(block.file).write_text(block.code, encoding="utf-8")
        return ""
    if block.language == "python":
        capsys.readouterr()
        exec(compile(block.code, "<page>", "exec"), {"__name__": "__main__"})
        return capsys.readouterr().out
    return "".join(_prune(command, block, capsys) for command in _commands(block.code))


def _commands(code: str) -> Iterator[list[str]]:
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] == "prune", f"only prune is run in this process: {line}"
            yield words[1:]


def _prune(arguments: list[str], block: Block, capsys: pytest.CaptureFixture[str]) -> str:
    ran = run_here(capsys, *arguments)
    assert (ran.code != 0) == any(line.startswith("error: ") for line in block.shown), ran.err
    return ran.out + ran.err

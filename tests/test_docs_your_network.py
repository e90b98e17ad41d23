"""docs/your-network.md, run from top to bottom in one directory, and what it shows compared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pages import blocks, missing_links, run_block

from prunecli.coupling.operators import RULES

PAGE = "docs/your-network.md"


def test_the_page_runs_and_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.argv", ["prune"])
    rules, modules = set(RULES), set(sys.modules)
    try:
        for block in blocks(PAGE):
            printed = run_block(block, capsys).splitlines()
            assert not [line for line in block.shown if line not in printed], "\n".join(printed)
    finally:
        for name in RULES.keys() - rules:
            del RULES[name]
        for name in sys.modules.keys() - modules:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
    written = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert written == ["module.safetensors", "small.safetensors", "taught.safetensors"]


def test_the_page_shows_files_outputs_and_errors() -> None:
    found = blocks(PAGE)
    assert [block.file for block in found if block.file] == ["mynet.py", "odd.py", "taught.py"]
    assert all(block.shown for block in found if block.language == "sh")
    assert sum(any(line.startswith("error: ") for line in block.shown) for block in found) == 4


def test_linked_files_exist() -> None:
    assert not missing_links(PAGE)

"""The short pages of the documentation, each run from top to bottom on the demo's checkpoint.

``PAGES`` has every page whose commands are run here; what a ``text`` block shows must be printed.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from pages import blocks, missing_links, run_block

from prunecli.criteria import CRITERIA

PAGES = (
    "quickstart.md",
    "targets.md",
    "accuracy.md",
    "reading-a-report.md",
    "faster.md",
    "dead-channels.md",
    "comparing.md",
    "extending.md",
    "networks.md",
    "faq.md",
    "hugging-face.md",
)
OTHERS = ("index.md", "security.md", "ci.md", "api.md", "report.md")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_runs_and_shows_what_is_printed(
    page: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_reload: None,
) -> None:
    if page == "hugging-face.md":
        pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["prune"])
    dense = (files("prunecli.demo") / "digits_resnet8.safetensors").read_bytes()
    Path("model.safetensors").write_bytes(dense)
    known = set(CRITERIA)
    try:
        ran = [block for block in blocks(f"docs/{page}") if block.language in ("sh", "python")]
        for block in ran:
            printed = run_block(block, capsys).splitlines()
            assert not [line for line in block.shown if line not in printed], "\n".join(printed)
    finally:
        for name in CRITERIA.keys() - known:
            del CRITERIA[name]
    assert any(block.language == "sh" for block in ran)
    assert Path("model.safetensors").read_bytes() == dense


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_linked_files_exist(page: str) -> None:
    assert not missing_links(f"docs/{page}")

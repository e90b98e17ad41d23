"""The navigation of the site, and what keeps it from loading anything from elsewhere. `.ci/run` builds it."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pages import ROOT, read

SETTINGS = yaml.safe_load(read("mkdocs.yml"))
OUTSIDE = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def from_ci(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OFFLINE = from_ci("offline")


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in pages(value)]


def test_the_navigation_has_every_page_once() -> None:
    named = pages(SETTINGS["nav"])
    there = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert len(named) == len(set(named))
    assert set(named) == there | OUTSIDE.keys()


def test_fonts_and_scripts_of_others_are_not_asked_for() -> None:
    assert SETTINGS["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript"} & SETTINGS.keys()
    assert SETTINGS["plugins"] == ["search"]
    assert not any("```mermaid" in path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["<script> https://cdn.example/x.js"]),
        ('<script src="assets/x.js"></script>', []),
        ('<link rel="stylesheet" href="//fonts.example/css">', ["<link> //fonts.example/css"]),
        ('<link rel="preconnect" href="https://fonts.example">', ["<link> https://fonts.example"]),
        ('<link rel="canonical" href="https://docs.example/">', []),
        ('<a href="https://example.com">a link</a>', []),
        ('<img src="HTTPS://example.com/badge.svg">', ["<img> HTTPS://example.com/badge.svg"]),
        ("<style>@import '//x.example/a.css';</style>", ["style //x.example/a.css"]),
        ('<p style="background: url(https://x.example/a.png)">', ["style https://x.example/a.png"]),
        ('<pre class="mermaid">graph</pre>', ["<pre> of class mermaid"]),
    ],
)
def test_what_a_browser_loads_is_told_from_what_a_reader_follows(page: str, found: list[str]) -> None:
    assert OFFLINE.loads(page) == found


def test_a_site_is_searched_whole(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "index.html").write_text("<p>here</p>", encoding="utf-8")
    sheet = tmp_path / "inner" / "a.css"
    sheet.write_text("@font-face { src: url(data:font/woff2;base64,AA) }", encoding="utf-8")

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / ".ci" / "offline.py"), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert check().returncode == 0
    sheet.write_text("@font-face { src: url(https://fonts.example/a.woff2) }", encoding="utf-8")
    failed = check()
    assert failed.returncode == 1
    assert "a.css: style https://fonts.example/a.woff2" in failed.stdout


@pytest.mark.parametrize("source", OUTSIDE.values())
def test_links_of_pages_from_outside_can_be_led_to_the_site(source: str) -> None:
    """Everything they link is a page of ``docs/``, one of them, or an address."""
    links = re.findall(r"\]\(([^)#]+)", read(source))
    known = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} | set(OUTSIDE.values())
    assert not [link for link in links if link not in known and not link.startswith("https://")]

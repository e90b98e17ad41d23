"""The page around the sections. A policy in it lets in this style and this script, and nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from prunecli.report.html.markup import Section, text, weight

LONGEST = 900_000
"""Bytes of a page for what it says, so that all of it is less than a megabyte; tables get what is left."""
_NO_MORE = "base-uri 'none'; form-action 'none'"


def page(title: str, under: str | None, head: str, sections: Sequence[Section]) -> str:
    """``head`` and the sections, with a list of them to go to."""
    style, script = _style(), _packaged("page.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; {_NO_MORE}"
    links = "".join(f'<li><a href="#{each.anchor}">{text(each.title)}</a></li>' for each in sections)
    parts: list[str] = []
    room = LONGEST - weight(head) - sum(each.fixed for each in sections)
    for each in sections:
        parts.append(each.shown(room))
        room -= weight(parts[-1]) - each.fixed
    body = "\n".join(parts)
    network = f"<p>{text(under)}</p>" if under else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="prunecli">
<title>{text(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#main">To the report</a>
<header><h1>{text(title)}</h1>{network}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main">
<div class="head">{head}</div>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


@cache
def _packaged(name: str) -> str:
    return files("prunecli.report.html").joinpath(name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    """With a class for each whole percentage, of what was before and of what is after."""
    lengths = "".join(f".a{n},.b{n}{{--w:{n}%}}" for n in range(101))
    return _packaged("page.css") + lengths


def _hash(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"

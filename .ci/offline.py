"""``python .ci/offline.py DIR``: what the pages of a built site fetch from elsewhere; exit 1 if anything.

Links that a reader may follow are not meant: only what a browser loads by itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

_LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "object": "data"}
_LINKS_NOT_LOADED = {"canonical", "next", "prev", "edit", "alternate"}
_ELSEWHERE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_IN_STYLES = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_DRAWN_ELSEWHERE = "mermaid"
"""The theme's script fetches a library for elements of this class."""


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        address = values.get(_LOADED.get(tag, ""), "")
        if tag == "link" and not _LINKS_NOT_LOADED & set(values.get("rel", "").split()):
            address = values.get("href", "")
        if _ELSEWHERE.match(address):
            self.found.append(f"<{tag}> {address}")
        if _DRAWN_ELSEWHERE in values.get("class", "").split():
            self.found.append(f"<{tag}> of class {_DRAWN_ELSEWHERE}")
        self.found += [f"style {address}" for address in _IN_STYLES.findall(values.get("style", ""))]


def loads(text: str, *, style: bool = False) -> list[str]:
    """What a page (or a style sheet) loads from another host."""
    inside = _IN_STYLES.findall(text) if style else []
    if style:
        return [f"style {address}" for address in inside]
    page = _Loads()
    page.feed(text)
    sheets = "\n".join(re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL | re.IGNORECASE))
    return page.found + loads(sheets, style=True)


def check(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            for found in loads(text, style=path.suffix == ".css"):
                yield f"{path.relative_to(site)}: {found}"


if __name__ == "__main__":
    if len(sys.argv) != 2 or not list(Path(sys.argv[1]).glob("*.html")):
        sys.exit("usage: python .ci/offline.py DIR, of a site that was built")
    faults = list(check(Path(sys.argv[1])))
    print("\n".join(faults) or "the site loads nothing from elsewhere")
    sys.exit(bool(faults))

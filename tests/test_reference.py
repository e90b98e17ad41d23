from __future__ import annotations

import re

from pages import blocks, read

import prunecli
from prunecli.reference import written

PAGE = "docs/api.md"


def test_the_page_is_current() -> None:
    assert read(PAGE) == written(), f"python -m prunecli.reference --write {PAGE}"


def test_every_exported_name_has_a_section_and_text() -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", read(PAGE), re.MULTILINE | re.DOTALL))
    assert sections.keys() == set(prunecli.__all__) - {"__version__"}
    texts = [re.sub(r"```.*?```", "", text, flags=re.DOTALL).strip() for text in sections.values()]
    assert min(map(len, texts)) > 10


def test_signatures_are_calls_that_python_can_read() -> None:
    signatures = re.findall(r"^```text\n(.*?)^```", read(PAGE), re.MULTILINE | re.DOTALL)
    assert len(signatures) > 15
    for text in signatures:
        compile(f"def {text.lstrip('.').rstrip()}: ...", PAGE, "exec")
    assert any("    speedup: float | None = None,\n" in text for text in signatures)


def test_the_example_is_python() -> None:
    (example,) = blocks(PAGE, "python")
    compile(example.code, PAGE, "exec")

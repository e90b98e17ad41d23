from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from pages import missing_links, read
from report_examples import evaluation, explanation, finetuning, inspection, report, scoring, verification

from prunecli.report.reference import written
from prunecli.report.schema import json_schema

PAGE = "docs/report.md"
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", read(PAGE), re.MULTILINE | re.DOTALL))


def test_the_page_is_current() -> None:
    assert read(PAGE) == written(), f"python -m prunecli.report.reference --write {PAGE}"


def test_it_has_the_definitions_of_the_schema_with_their_fields() -> None:
    definitions = json_schema()["$defs"]
    assert SECTIONS.keys() == definitions.keys()
    for name, definition in definitions.items():
        computed = {"passed"} if name == "Verification" else set()
        rows = re.findall(r"^\| `(\w+)` \|", SECTIONS[name], re.MULTILINE)
        assert set(rows) == definition["properties"].keys() - computed


@pytest.mark.parametrize(
    "document",
    [report(), inspection(), explanation(), verification(), evaluation(), scoring(), finetuning()],
    ids=lambda document: type(document).__name__,
)
def test_every_document_is_listed_with_its_schema(document: Any) -> None:
    name = type(document).__name__
    assert f"| [{name}](#{name.lower()}) | `{document.schema}` |" in read(PAGE)
    assert all(f"| `{item.name}` |" in SECTIONS[name] for item in fields(document))


def test_links_lead_to_sections_and_files() -> None:
    assert not missing_links(PAGE)
    linked = set(re.findall(r"\]\(#(\w+)\)", read(PAGE)))
    assert linked == {name.lower() for name in SECTIONS}

"""The pages of a checkpoint and of its quality say what the JSON says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from html_pages import Page, differences, numbers, told
from report_examples import GATES, full_evaluation, full_inspection, inspection

from prunecli.report import html
from prunecli.report.model import Inspection
from prunecli.report.text import one_line


def test_every_number_of_an_inspection_is_on_the_page_and_the_same() -> None:
    found = full_inspection()
    page, data = Page(html.inspection(found)), found.to_json()
    assert differences(page, data) == []
    twice = {
        pointer: value
        for pointer, value in numbers(data)
        if re.match(r"/layers/\d+/\w+_after|/groups/\d+/kept", pointer)
    }
    known = dict(numbers(data))
    for pointer, value in twice.items():
        assert value == known[pointer.replace("_after", "_before").replace("/kept", "/dense")]
    in_words = {pointer for pointer in known if re.match("/(inputs|network)/", pointer)}
    assert set(known) - told(page, data) - set(twice) == in_words
    assert len(told(page, data)) > 50


def test_every_number_of_an_evaluation_is_on_the_page_and_the_same() -> None:
    found = full_evaluation()
    page, data = Page(html.evaluation(found)), found.to_json()
    assert differences(page, data) == []
    known = dict(numbers(data))
    assert set(known) - told(page, data) == {p for p in known if re.match("/(inputs|network)/", p)}
    assert "gates FAILED 2 of 3 failed: --max-params, --min-accuracy" in page.text
    assert page.text.index("verdict") < page.text.index("top-1 as the dense network")
    assert found.against is not None
    assert found.against.digest in page.text


def test_what_can_be_removed_and_why_not_is_told() -> None:
    found = full_inspection()
    page = Page(html.inspection(found))
    for row in found.groups:
        assert row.reason is None or row.reason in page.text
        assert row.value_changing is None or row.value_changing in page.text
    assert found.pinned[0].reason in page.text
    assert "filled where it can be pruned" in page.text
    kinds = [tag.get("class", "") for name, tag in page.tags if name == "i"]
    assert [kind for kind in kinds if "prunable" in kind] == ["prunable changes b100"]
    assert all(word not in page.text for word in ("before, ms", "kept"))


def test_what_was_not_measured_has_no_section() -> None:
    def sections(found: Inspection) -> list[str]:
        return [tag["id"] for name, tag in Page(html.inspection(found)).tags if name == "section"]

    assert sections(inspection()) == ["layers", "groups", "pinned", "notes", "again"]
    full = ["layers", "latency", "groups", "zeros", "pinned", "notes", "again"]
    assert sections(full_inspection()) == full
    bare = replace(inspection(), layers=(), groups=(), pinned=(), checkpoint=None, network=replace(
        inspection().network, notes=()
    ))  # fmt: skip
    assert sections(bare) == ["again"]
    alone = Page(html.evaluation(replace(full_evaluation(), dense=None, against=None, gates=(), totals=None)))
    assert [tag["id"] for name, tag in alone.tags if name == "section"] == [
        "quality", "data", "notes", "again",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x>', "\x1b[31mred", "&lt;b&gt;"])
def test_names_are_only_text(name: str) -> None:
    def odd(name: str) -> tuple[Page, Page]:
        source = replace(full_inspection().network, spec=name)
        checkpoint = full_inspection().checkpoint
        assert checkpoint is not None
        seen = replace(full_inspection(), network=source, command=(name,), notes=(name,), checkpoint=replace(
            checkpoint, name=name, layout=name
        ))  # fmt: skip
        judged = replace(full_evaluation(), against=replace(checkpoint, name=name), command=(name,))
        return Page(html.inspection(seen)), Page(html.evaluation(judged))

    for page, plain in zip(odd(name), odd("harmless"), strict=True):
        assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
        assert one_line(name) in page.text


def test_a_gate_that_was_not_judged_is_said() -> None:
    page = Page(html.evaluation(replace(full_evaluation(), gates=GATES[2:])))
    assert "not judged" in page.text

"""The short form of ``python -m tests.robustness.names``: every renderer with the names that differ most, and
the commands that are quick with many names in one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import report_examples as examples

from robustness import names, rendering

FULL = examples.full_report()
DOCUMENTS = (
    FULL, examples.full_inspection(), examples.full_evaluation(), examples.difference(),
    examples.finetuning(), examples.verification(*FULL.proofs),
)  # fmt: skip
AT_THE_BEGINNING = ("formula", "minus", "at", "heading", "list", "number", "quote", "table", "lone surrogate")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: type(document).__name__)
def test_no_text_of_a_document_is_more_than_text(document: object) -> None:
    chosen = [*names.TOGETHER.values(), *(names.NAMES[key] for key in AT_THE_BEGINNING)]
    found = {name[:20]: [*rendering.problems(document, name, names.HARMLESS)] for name in chosen}
    assert {name: told for name, told in found.items() if told} == {}


@pytest.mark.parametrize("surface", [names.Surface("arguments", names._typed)], ids=lambda each: each.name)
def test_no_name_is_more_than_a_name(surface: names.Surface) -> None:
    table = names.examine(names.TOGETHER["all that does not"] + "\n", [surface], terminals=(True,))
    assert table.findings == [] and table.outputs[surface.name] > 20


def test_names_in_files(tmp_path: Path) -> None:
    """What can be in a file and is shown by a refusal."""
    surfaces = [names.Surface(each.name, each.prepare) for each in names.SURFACES if each.name in (
        "tensors, metadata, shards", "labels and arrays")]  # fmt: skip
    table = names.examine(names.TOGETHER["all that does not"], surfaces, terminals=(False,))
    assert table.findings == [] and table.outputs.total() > 10


def test_the_parsers_see_what_gets_through() -> None:
    """The oracles themselves."""
    page, hostile = "<p>a</p>", "<p>a<img src=x onerror=b></p>"
    assert names.html_structure(page) != names.html_structure(hostile)
    for text in ("a [b](http://c)", "# a", "- a", "1. a", "![a](b)", "`a`", "*a*", "a <b>"):
        assert names.markdown_structure(text) != names.markdown_structure("a")
    assert [*names.at_terminal(names.Printed(0, "a\x1b]0;b\x07\n", "", True), "x")]
    assert [*names.at_terminal(names.Printed(0, "a\u202eb\n", "", False), "x")]
    assert not [*names.at_terminal(names.Printed(0, "\x1b[1ma\x1b[0m\n", "", True), "x")]
    assert [*names._spreadsheet([["=1+1"]], [["x"]])]

from __future__ import annotations

from dataclasses import replace

from html_pages import Page, differences, numbers, told
from report_examples import difference

from prunecli.report import html


def test_every_number_that_differs_is_that_of_the_json() -> None:
    """Quality, the network and the settings of each side are told in words or on its own page."""
    page, data = Page(html.difference(difference())), difference().to_json()
    assert differences(page, data) == []
    left = {pointer for pointer, _ in numbers(data)} - told(page, data)
    sides = {pointer for pointer in left if pointer.startswith(("/a/", "/b/"))}
    assert all(pointer.split("/")[2] in ("network", "inputs", "dense") for pointer in sides)
    assert left - sides == {"/options/0/a", "/options/0/b"}
    (options,) = [grid for grid in page.grids if grid.at == "/options"]
    assert [[cell.text for cell in row] for row in options.rows] == [
        ["speedup", "2.0", "3.0"],
        ["only", "a, b", "-"],
    ]


def test_what_was_typed_is_there_to_copy() -> None:
    assert "prune diff 'dense|1.pth' 'a b.json'" in Page(html.difference(difference())).text
    assert 'class="command"' not in html.difference(replace(difference(), command=()))


def test_the_verdict_comes_first_and_names_are_text() -> None:
    odd = "<script>alert(1)</script>"
    found = replace(difference(), verdict=odd, a=replace(difference().a, name=odd, digest=None))
    page = Page(html.difference(found))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.index(odd) < page.text.index("MACs")


def test_nothing_in_common_is_a_page_too() -> None:
    bare = replace(difference(), layers=(), groups=(), tensors=None, options=(), data=None, notes=())
    page = Page(html.difference(bare))
    assert page.grids == []
    assert [found["id"] for tag, found in page.tags if tag == "section"] == ["sizes", "quality", "about"]

from __future__ import annotations

import pytest
from html_pages import Page, at
from report_examples import LAYERS, report

from prunecli.report.html.markup import Column, Section, Table, number, pointer, text, value_at, weight


def test_text_is_text_in_an_attribute_too() -> None:
    assert text("a<b>&\"'\n\u202e") == "a&lt;b&gt;&amp;&quot;&#x27; \\u202e"


def test_a_figure_carries_its_value_and_where_it_is() -> None:
    said = number(1 / 3, "{:.1%}".format, pointer("quality", "a/b~c", "top1"))
    assert said == '<data value="0.3333333333333333" data-at="/quality/a~1b~0c/top1">33.3%</data>'
    assert at({"quality": {"a/b~c": {"top1": 1}}}, "/quality/a~1b~0c/top1") == 1
    assert number(None, str, "/x") == number(float("nan"), str, "/x") == "-"


@pytest.mark.parametrize(
    ("place", "found"),
    [("name", "conv1"), ("shape_after/0", 40), ("shape_after/7", None), ("sparsity", 0.25)],
)
def test_places_in_a_row(place: str, found: object) -> None:
    assert value_at(LAYERS[0], place) == found


def test_a_cell_has_its_value_unless_it_shows_it() -> None:
    columns = [
        Column("name", "name", kind="name"),
        Column("rounded", "params_before", "{:.1e}".format),
        Column("with commas", "params_before", "{:,}".format),
        Column("share", "sparsity", "{:.1%}".format, most=0.5),
        Column("other", of=lambda row: row.macs_before * 2, shown="{:.1e}".format),
    ]
    table = Table("layer", "/layers", columns, LAYERS).shown(10_000)
    assert (
        "<tr><th scope=row>conv1<td data-v=9408>9.4e+03<td>9,408<td class=a50>25.0%<td>2.4e+08"
        "<tr><th scope=row>bn1<td data-v=128>1.3e+02<td>128<td>0.0%<td>3.2e+06"
    ) in table
    (grid,) = Page(table).grids
    for cells, row in zip(grid.rows, report().to_json()["layers"], strict=True):
        assert cells[1].equals(row["params_before"])
        assert cells[2].equals(row["params_before"])
        assert not cells[2].equals(row["params_before"] + 1)


def test_tables_share_the_room_and_say_what_they_leave_out() -> None:
    columns = [Column("name", "name", kind="name")]
    rows = LAYERS * 100
    whole = Table("layer", "/layers", columns, rows)
    assert whole.shown(100_000).count("<tr>") == 401
    part = whole.shown(8_000)
    assert 1 < part.count("<tr>") < 401
    assert "400 layers (the first" in part
    assert weight(part) < 8_000
    assert whole.shown(0) == "<p>400 layers (the first 0; all are in the JSON report)</p>"
    assert Table("layer", "/layers", columns, ()).shown(100_000) == ""
    two = Section("a", "A", ("<p>x</p>", whole, whole))
    assert two.fixed == 8
    assert two.shown(17_000).count("400 layers (the first") >= 2
    assert weight(two.shown(17_000)) < 17_200


def test_long_tables_are_folded_and_short_ones_have_no_search() -> None:
    columns = [Column("name", "name", kind="name")]
    for number_of, has_search, is_open in ((1, False, None), (3, True, True), (40, True, False)):
        table = Table("layer", "/layers", columns, LAYERS * number_of).shown(100_000)
        assert ("search" in table) == has_search
        assert ("<details open>" in table) == bool(is_open)
        assert ("<details>" in table) == (is_open is False)

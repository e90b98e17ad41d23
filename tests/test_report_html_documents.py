"""The page says what the JSON says, all of it, and nothing that a file names becomes more than text."""

from __future__ import annotations

import copy
import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from html_pages import Page, at, differences, numbers, told
from hypothesis import given, settings
from hypothesis import strategies as st
from report_examples import (
    GATES,
    LATENCY,
    LAYERS,
    NETWORK,
    PINNED,
    PRUNED,
    SOURCE,
    WHOLE,
    finetuning,
    full_report,
    large_report,
    report,
    trained_stage,
)

from prunecli.report import html
from prunecli.report.gated import Gate
from prunecli.report.html.page import LONGEST
from prunecli.report.text import one_line

TRAINED = replace(finetuning(), sparsity=trained_stage().sparsity, gates=GATES, latency=LATENCY)
DOCUMENTS = {"run": (html.result, full_report()), "training": (html.finetuning, TRAINED)}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_number_of_the_json_is_on_the_page_and_the_same(name: str) -> None:
    render, found = DOCUMENTS[name]
    page, data = Page(render(found)), found.to_json()
    assert differences(page, data) == []
    drawn = {
        f"/scores/{i}/{key}/{part}" for i in range(2) for key in ("counts", "removed") for part in range(12)
    }
    in_words = {pointer for pointer, _ in numbers(data) if re.match("/(inputs|network)/", pointer)}
    assert {pointer for pointer, _ in numbers(data)} - told(page, data) - drawn <= in_words
    assert len(told(page, data)) > 50
    assert "1x3x224x224 float32" in page.text
    assert "num_classes=10" in page.text
    wanted = [
        f"{' '.join(map(str, row['counts']))}; removed {' '.join(map(str, row['removed']))}"
        for row in data.get("scores", ())
    ]
    assert page.histograms == wanted


def test_a_page_of_other_numbers_is_noticed() -> None:
    data = full_report().to_json()
    page = Page(html.result(full_report()))
    for change in ("layers", "before", "steps", "latency"):
        other = copy.deepcopy(data)
        if change == "layers":
            other["layers"][1]["macs_after"] += 1
        elif change == "before":
            other["before"]["params"] += 1
        elif change == "steps":
            other["steps"][0] += 1e-12
        else:
            other["latency"]["layers"][2]["after"]["median"] *= 1.0000001
        assert len(differences(page, other)) == 1


def test_what_is_shown_is_the_value_rounded() -> None:
    """Three digits with a unit, shares in percent: read back and compared."""
    scale = {"k": 1e3, "M": 1e6, "G": 1e9, "kB": 1e3, "MB": 1e6, "GB": 1e9, "x": 1, "ms": 1, "s": 1, "": 1}
    page = Page(html.result(full_report()))
    read = 0
    for pointer, value, shown in page.figures:
        number, unit = re.fullmatch(r"([-+.\d,e]+%?)×?\s*([a-zA-Z]*)", shown).groups()  # type: ignore[union-attr]  # noqa: RUF001
        size = float(number.replace(",", "").rstrip("%")) / (100 if number.endswith("%") else 1)
        assert size * scale.get(unit, 1) == pytest.approx(value, rel=0.006, abs=5e-5), pointer
        read += 1
    assert read > 60


def test_what_came_of_it_is_said_in_words() -> None:
    text = Page(html.result(full_report())).text
    assert "gates FAILED 2 of 3 failed: --max-params, --min-accuracy" in text
    assert "proofs passed all 2 passed" in text
    assert "target passed speedup 2 asked, 2.001 reached" in text
    held = Page(html.result(replace(full_report(), gates=GATES[:1]))).text
    assert "FAILED" not in held
    assert "gate passed 1 passed" in held
    short = replace(report(), target=replace(report().target, met=False, reached=1.5))
    assert "target FAILED" in Page(html.result(short)).text


def test_failed_gates_come_first() -> None:
    gates = (*GATES, Gate("max-bytes", 1, 2, "bytes", False))
    text = Page(html.result(replace(report(), gates=gates))).text
    table = text[text.index("verdict") :]
    places = [table.index(f"--{name}") for name in ("max-params", "min-accuracy", "max-bytes", "max-macs")]
    assert places == sorted(places)
    assert "not judged" in table


def test_what_was_not_measured_has_no_section() -> None:
    bare = replace(
        report(), groups=(), layers=(), pinned=(), proofs=(), command=(), checkpoint=None, output=None,
        network=replace(NETWORK, notes=()), timings={}, steps=(), unsupported={},
    )  # fmt: skip
    page = Page(html.result(bare))
    anchors = [found["id"] for tag, found in page.tags if tag == "section"]
    assert anchors == ["again"]
    assert page.grids == []
    full = [found["id"] for tag, found in Page(html.result(full_report())).tags if tag == "section"]
    links = [found["href"] for tag, found in Page(html.result(full_report())).tags if tag == "a"]
    assert links == ["#main", *(f"#{anchor}" for anchor in full)]
    assert {"gates", "quality", "layers", "latency", "groups", "scores", "zeros", "again"} <= set(full)


HOSTILE = st.one_of(
    st.sampled_from(
        [
            "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onmouseover='x", "a|b`c`",
            "\u202egnp.exe", "\x1b[31mred\x1b[0m", "</style></script><b>", "&lt;b&gt;", "-->", "javascript:x",
        ]
    ),
    st.text(alphabet="<>&\"'/=`|\\\n\r\t\x1b\x00ab \u202e\u2028", min_size=1, max_size=30),
)  # fmt: skip


@settings(max_examples=25)
@given(HOSTILE)
def test_names_are_only_text(name: str) -> None:
    """Wherever a file may name something: the same tags as with harmless names, and the name as text."""

    def odd(name: str) -> Page:
        stage = replace(trained_stage(), name=name)
        return Page(
            html.result(
                replace(
                    full_report(), layers=(replace(LAYERS[0], name=name, type=name),), notes=(name,),
                    groups=(replace(PRUNED, name=name, layers=(name,)), replace(WHOLE, reason=name)),
                    network=replace(NETWORK, spec=name, arguments={name: name}, assumed=(name,)),
                    command=("prune", name), version=name, checkpoint=replace(SOURCE, name=name, layout=name),
                    pinned=(replace(PINNED, parameter=name, reason=name),), training=(stage,),
                    unsupported={name: 2}, options={name: name, "n": (name,)}, timings={name: 1.0},
                )
            )
        )  # fmt: skip

    page, plain = odd(name), odd("harmless")
    kinds = [(tag, sorted(found)) for tag, found in page.tags]
    assert kinds == [(tag, sorted(found)) for tag, found in plain.tags]
    assert [len(row) for grid in page.grids for row in grid.rows] == [
        len(row) for grid in plain.grids for row in grid.rows
    ]
    assert one_line(name) in page.text
    assert not set(page.text) & set("\x1b\x00\u202e\u2028")


@pytest.mark.parametrize("render", [html.result, html.finetuning])
def test_nothing_is_fetched(render: Any) -> None:
    text = render(full_report() if render is html.result else finetuning())
    page = Page(text)
    for tag, found in page.tags:
        assert tag not in (
            "img",
            "link",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
            "audio",
            "video",
            "use",
        )
        assert not {"src", "srcset", "style", "xlink:href"} & found.keys()
        assert not any(name.startswith("on") for name in found)
        assert found.get("href", "#").startswith("#")
    assert not re.search(r"url\(|@import|https?:|//[a-z]", page.raw["style"])
    assert not re.search(r"https?:|fetch|XMLHttp|import\(", page.raw["script"])


def test_a_thousand_layers_stay_under_a_megabyte_and_what_is_left_out_is_said() -> None:
    found = large_report(1000, 500)
    text = html.result(found)
    assert len(text.encode()) < 1_000_000
    page, data = Page(text), found.to_json()
    assert differences(page, data) == []
    rows = {grid.at: len(grid.rows) for grid in page.grids}
    assert rows["/layers"] == 1000
    assert rows["/groups"] == 500
    for grid in page.grids:
        every = len(at(data, grid.at))
        assert len(grid.rows) == every or f"{len(grid.rows):,}; all are in the JSON report" in grid.caption
    many = html.result(large_report(2500, 1200))
    assert len(many.encode()) < 1_000_000
    assert re.search(r"2500 timed layers[^<]*all are in the JSON report", many)
    assert LONGEST < 1_000_000


def test_who_cannot_see_it_can_read_it() -> None:
    """Landmarks, headings in order, scopes, captions, labels; what is a picture is named or in a table."""
    page = Page(html.result(full_report()))
    names = [tag for tag, _ in page.tags]
    assert [names.count(tag) for tag in ("h1", "main", "header", "nav")] == [1, 1, 1, 1]
    levels = [int(tag[1]) for tag in names if re.fullmatch(r"h\d", tag)]
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert ("html", {"lang": "en"}) in page.tags
    assert all("scope" in found for tag, found in page.tags if tag == "th")
    assert names.count("table") == names.count("caption")
    for tag, found in page.tags:
        if tag == "svg":
            assert found.get("aria-hidden") == "true" or (found["role"] == "img" and found["aria-label"])
        if found.get("role") == "region":
            assert found["tabindex"] == "0"
            assert found["aria-label"]
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["aria-labelledby"] for _, found in page.tags if "aria-labelledby" in found} <= set(ids)

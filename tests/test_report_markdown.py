from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_examples import (
    LAYERS,
    NETWORK,
    PRUNED,
    QUALITY,
    REPAIR,
    WHOLE,
    finetuning,
    full_evaluation,
    full_inspection,
    full_report,
    large_report,
    report,
)

from prunecli.report import markdown
from prunecli.report.epochs import Sparsity, TrainedStage
from prunecli.report.figures import DataFacts
from prunecli.report.markdown import LONGEST, escaped

TRAINED = finetuning()
STAGE = TrainedStage(
    "sparsified", TRAINED.settings, DataFacts("digits", 1000, True), None, False, "cpu", 2, TRAINED.epochs,
    6.0, sparsity=Sparsity("greg-1", {"tau": 1.0}, {"lambda": 0.5}, "--speedup 2", 12),
)  # fmt: skip


def tables(text: str) -> list[list[list[str]]]:
    """Cells of every table, without its line of dashes."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [
        [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for index, line in enumerate(block.strip().splitlines())
            if index != 1
        ]
        for block in found
    ]


def named(text: str, first: str) -> dict[str, list[str]]:
    """The rows of the table whose first title is ``first``, by their first cell."""
    (table,) = [table for table in tables(text) if table[0][0] == first and any(table[0])]
    return {row[0]: row[1:] for row in table[1:]}


def number(cell: str) -> float:
    return float(cell.replace(",", "").rstrip("x%")) / (100 if cell.endswith("%") else 1)


def full() -> Any:
    return replace(report(), quality=QUALITY, repair=REPAIR, training=(STAGE,))


def test_every_figure_of_a_run_is_that_of_the_json() -> None:
    text, data = markdown.result(full()), full().to_json()
    sizes = next(table for table in tables(text) if table[0][1:3] == ["before", "after"])
    for row, key in zip(sizes[1:], ("macs", "params", "bytes"), strict=True):
        assert [number(cell) for cell in row[1:3]] == [data["before"][key], data["after"][key]]
        assert number(row[3]) == pytest.approx(data["before"][key] / data["after"][key], abs=0.005)
    quality = named(text, "quality")
    for words, key in (
        ("top-1", "top1"),
        ("loss (cross-entropy)", "loss"),
        ("output error (relative)", "error"),
    ):
        for cell, name in zip(quality[words], data["quality"], strict=True):
            value = data["quality"][name][key]
            assert cell == "-" if value is None else number(cell) == pytest.approx(value, rel=5e-3)
    groups = named(text, "group")
    assert groups == {"conv1": ["64", "40", "37.5%"]}
    layers = named(text, "layer")
    changed = [row for row in data["layers"] if row["shape_before"] != row["shape_after"]]
    assert list(layers) == [row["name"] for row in changed]
    for row in changed:
        keys = ("params_before", "params_after", "macs_before", "macs_after", "sparsity")
        assert [number(cell) for cell in layers[row["name"]][3:]] == [row[key] for key in keys]
    epochs = named(text, "epoch")
    for row in data["training"][0]["epochs"]:
        cells = epochs[str(row["epoch"])]
        assert number(cells[1]) == pytest.approx(row["loss"], rel=1e-3)
        assert number(cells[3]) == pytest.approx(row["quality"]["top1"], abs=5e-5)
    for said in ("speedup 2: reached 2.001, met", "masked network passed", "ab" * 32, "cd" * 32, "greg-1"):
        assert said in text
    assert "prune run resnet50.pth --speedup 2" in text
    assert named(text, "reason") == {"it reaches the output of the network": ["1"]}


def test_every_figure_that_was_measured_is_that_of_the_json() -> None:
    found = replace(full_report(), notes=())
    text, data = markdown.result(found), found.to_json()
    sizes = next(table for table in tables(text) if table[0][1:3] == ["before", "after"])
    (latency,) = [row for row in sizes if row[0] == "latency"]
    whole = data["latency"]
    for cell, side in zip(latency[1:3], ("before", "after"), strict=True):
        assert milliseconds(cell) == pytest.approx(whole[side]["median"], rel=5e-3)
    assert number(latency[3]) == pytest.approx(whole["speedup"], abs=5e-3)
    layers = named(text, "timed layer")
    assert set(layers) == {row["name"] for row in whole["layers"]}
    for row in whole["layers"]:
        cells = layers[row["name"]]
        assert milliseconds(cells[0]) == pytest.approx(row["before"]["median"], rel=5e-3)
        if row["after"] is None:
            assert cells[1:] == ["-", "-"]
        else:
            assert milliseconds(cells[1]) == pytest.approx(row["after"]["median"], rel=5e-3)
    idle = named(text, "layer with zeros")
    (sparse,) = [row for row in data["sparsity"] if row["zeros"]]
    keys = ("params", "zeros", "near_zeros", "channels", "dead", "duplicates", "inactive", "two_four")
    assert [number(cell) for cell in idle[sparse["name"]]] == [sparse[key] for key in keys]
    assert list(idle) == [sparse["name"]]
    assert "1,470 of 16,130 parameters (9.1%), 3 channels dead in their layer, 1 duplicate" in text
    gates = named(text, "gate")
    assert number(gates["--max-params"][1].split()[0]) == data["gates"][1]["found"]
    assert text.index("| gate |") < text.index("| MACs |")


def test_every_figure_of_an_inspection_is_that_of_the_json() -> None:
    found = full_inspection()
    text, data = markdown.inspection(found), found.to_json()
    sizes = {name: number(cells[0]) for name, cells in named(text, "size").items()}
    totals = data["totals"]
    assert list(sizes.values()) == [totals[key] for key in ("macs", "params", "bytes")]
    layers = named(text, "layer")
    assert len(layers) == len(data["layers"])
    for row in data["layers"]:
        cells = layers[row["name"]]
        assert [number(cell) for cell in cells[2:4]] == [row["params_before"], row["macs_before"]]
        assert cells[:2] == [row["type"], "x".join(map(str, row["shape_before"])) or "-"]
        assert number(cells[4]) == pytest.approx(row["sparsity"], abs=5e-4)
    groups = named(text, "group")
    assert groups == {
        "conv1": ["channels", "64", "yes, and changes values: mean over the axis"],
        "fc": ["channels", "10", "no: it reaches the output of the network"],
    }
    assert named(text, "reason") == {"it reaches the output of the network": ["1"]}
    assert named(text, "pinned because") == {"output of the network": ["1"]}
    timed = named(text, "timed layer")
    assert {name: milliseconds(cells[0]) for name, cells in timed.items()} == {
        row["name"]: pytest.approx(row["before"]["median"], rel=5e-3) for row in data["latency"]["layers"]
    }
    assert [number(cell) for cell in named(text, "layer with zeros")["conv1"][:2]] == [5880, 1470]
    assert "2, of which 1 can be pruned" in text
    assert "prune inspect resnet50.pth" in text


def test_every_figure_of_an_evaluation_is_that_of_the_json_and_gates_come_first() -> None:
    found = full_evaluation()
    text, data = markdown.evaluation(found), found.to_json()
    quality = named(text, "quality")["top-1"]
    assert [number(cell) for cell in quality] == [
        pytest.approx(data[name]["top1"], abs=5e-5) for name in ("dense", "quality")
    ]
    gates = named(text, "gate")
    assert {name: cells[2] for name, cells in gates.items()} == {
        "--max-macs": "passed", "--max-params": "FAILED", "--min-accuracy": "not judged",
    }  # fmt: skip
    assert text.index("| gate |") < text.index("| quality |") < text.index("imagefolder:photos")
    assert f"{data['totals']['params']:,}" in text
    alone = markdown.evaluation(replace(found, dense=None, against=None, gates=()))
    assert named(alone, "quality")["top-1"] == ["75.50%"]


def milliseconds(cell: str) -> float:
    assert cell.endswith(" ms")
    return float(cell.removesuffix(" ms"))


def test_a_thousand_layers_fit_into_a_comment() -> None:
    text = markdown.result(large_report(1000, 500))
    assert len(text) < LONGEST < 65_536
    assert "all are in the JSON report" in text


def test_every_figure_of_a_training_is_that_of_the_json() -> None:
    text, data = markdown.finetuning(TRAINED), TRAINED.to_json()
    quality = named(text, "quality")["top-1"]
    for cell, name in zip(quality, ("dense", "before", "after"), strict=True):
        assert number(cell) == pytest.approx(data[name]["top1"], abs=5e-5)
    epochs = named(text, "epoch")
    assert len(epochs) == 3
    for row in data["epochs"]:
        cells = epochs[str(row["epoch"])]
        assert [number(cells[0]), number(cells[1])] == [row["lr"], pytest.approx(row["loss"], rel=1e-3)]
    assert "timed layer" not in text
    measured = full_inspection().latency
    assert measured is not None
    timed = named(markdown.finetuning(replace(TRAINED, latency=measured)), "timed layer")
    assert {name: milliseconds(cells[0]) for name, cells in timed.items()} == {
        row.name: pytest.approx(row.before.median, rel=5e-3) for row in measured.layers
    }
    sparse = replace(TRAINED, sparsity=STAGE.sparsity)
    assert "12 units for --speedup 2" in markdown.finetuning(sparse)


def test_what_was_not_written_or_measured_is_left_out() -> None:
    text = markdown.result(replace(report(), output=None, checkpoint=None, command=(), groups=(), layers=()))
    assert text.startswith("## module\n")
    assert "quality" not in text
    assert "pruned groups" not in text
    assert "<pre>" not in text


class Tags(HTMLParser):
    """Which tags a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)


@given(st.text(alphabet="<>&|`*_[]()~#@:/!\\\n\r\t\x1bab.-=\u202e", min_size=1, max_size=30))
def test_names_are_only_text(name: str) -> None:
    """As layers, groups, files, notes and in the command: no tag, no further cell, no mention, no link."""
    odd = replace(
        full(), layers=(replace(LAYERS[0], name=name),), groups=(replace(PRUNED, name=name), WHOLE),
        notes=(name,),
        network=replace(NETWORK, spec=name), command=("prune", name), version=name,
    )  # fmt: skip
    text = markdown.result(odd)
    tags = Tags()
    tags.feed(text)
    assert tags.seen <= {"details", "summary", "pre"}
    plain = markdown.result(
        replace(odd, layers=(replace(LAYERS[0], name="x"),), groups=(replace(PRUNED, name="x"), WHOLE))
    )
    assert [[len(row) for row in table] for table in tables(text)] == [
        [len(row) for row in table] for table in tables(plain)
    ]
    said = escaped(name)
    assert "@" not in said
    assert "://" not in said
    assert "\n" not in said
    assert "\x1b" not in said


def test_it_fits_into_a_comment_and_says_what_it_leaves_out() -> None:
    many = tuple(replace(LAYERS[0], name=f"layers.{index}.conv") for index in range(2000))
    groups = tuple(replace(PRUNED, name=f"layers.{index}.conv") for index in range(2000))
    text = markdown.result(replace(full(), layers=many, groups=groups))
    assert len(text) < LONGEST
    assert re.search(r"2,000 pruned groups \(the first [\d,]+; all are in the JSON report\)", text)
    assert text.count("<details>") == text.count("</details>")
    small = markdown.result(replace(full(), layers=many[:200]))
    assert len(named(small, "layer")) == 200


@pytest.mark.parametrize("name", ["- a", "+ a", "1. a", "12) a", "---", "- - -", "===", "# a", "> a", "1."])
def test_no_name_begins_a_list_or_a_rule(name: str) -> None:
    from markdown_it import MarkdownIt

    from prunecli.report.markdown import escaped

    kinds = [token.type for token in MarkdownIt().parse(f"x\n\n{escaped(name)}\n")]
    assert kinds == ["paragraph_open", "inline", "paragraph_close"] * 2
    assert MarkdownIt().render(escaped("--max-params -1")).strip() == "<p>--max-params -1</p>"

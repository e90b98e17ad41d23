"""The document of ``prune diff``, and that each renderer shows its figures."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from report_examples import difference
from rich.console import Console

from prunecli.report import html
from prunecli.report.beside import MOST_ROWS, sizes
from prunecli.report.beside import difference as drawn
from prunecli.report.differences import Difference, LayerDifference
from prunecli.report.files import write_difference
from prunecli.report.markdown import LONGEST
from prunecli.report.markdown import difference as markdown
from prunecli.report.model import Input
from prunecli.report.schema import json_schema
from prunecli.report.spreadsheet import differences


def terminal(found: Difference) -> str:
    console = Console(width=200)
    with console.capture() as printed:
        console.print(*drawn(found), sep="\n")
    return printed.get()


@pytest.mark.parametrize("bare", [False, True])
def test_it_is_valid(bare: bool) -> None:
    found = difference()
    if bare:
        side = replace(found.a, digest=None, quality=None)
        found = Difference("0.1.0", side, side, "different", "different networks")
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(json.loads(json.dumps(found.to_json())))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(found.to_json() | {"relation": "odd"})


def test_layers_that_differ() -> None:
    one, same, gone = difference().layers
    assert [row.differs for row in (one, same, gone)] == [True, False, True]
    assert replace(same, change=1e-9).differs
    assert not replace(same, change=None).differs


def test_markdown_has_the_figures_of_the_json() -> None:
    found = difference()
    text = markdown(found)
    rows = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if line.startswith("| ")
        for cells in [[cell.strip() for cell in line.strip("| ").split(" | ")]]
    }
    told = found.to_json()
    for name, key in (("MACs", "macs"), ("parameters", "params"), ("bytes of weights", "bytes")):
        first, second = (told[side]["totals"][key] for side in ("a", "b"))
        assert rows[name] == [f"{first:,}", f"{second:,}", f"{first / second:.2f}x", rows[name][3]]
        assert float(rows[name][3].rstrip("%")) == pytest.approx(100 * (second / first - 1), abs=0.01)
    assert rows["latency (median)"] == ["-", "2.5 ms", "-", "-"]
    assert rows["top-1"] == ["80.00%", "75.00%"]
    assert rows["conv1"] == ["Conv2d", "64x3x7x7", "40x3x7x7", "9,408", "5,880", "118", "74", "0.25"]
    assert rows["=gone&#64;"][1:3] == ["4x4", "-"]
    assert "same" not in rows
    assert rows["speedup"] == ["2.0", "3.0"] and rows["only"] == ["a, b", "-"]
    assert rows["fc"] == ["10", "8", "7", "-"]
    assert rows["second began with"] == ["4.13 G MACs, 25.6 M parameters, top-1 80.00%, 4.5 ms"]
    assert rows["tensors"] == ["3 equal, 2 changed, 1 only in the first"]
    assert "<pre>prune diff &#x27;dense|1.pth&#x27; &#x27;a b.json&#x27;</pre>" in text
    assert "dense\\|1.pth" in text and "- identified" in text


def test_macs_of_other_inputs_have_no_ratio() -> None:
    found = difference()
    other = replace(found, b=replace(found.b, inputs=(Input((1, 3, 32, 32)),)))
    assert next(sizes(found))[3:] == ("2.00x", "-50.05%")
    assert next(sizes(other))[3:] == ("-", "-")
    assert "2.00x" in html.difference(found) and "2.00x" not in html.difference(other)
    assert "2.01x" in html.difference(other)


def test_a_long_one_still_fits_a_comment() -> None:
    layers = tuple(
        LayerDifference(f"layer{n}", "Conv2d", (8, 8), (4, 8), 64, 32, 64, 32) for n in range(2000)
    )
    text = markdown(replace(difference(), layers=layers))
    assert len(text) <= LONGEST
    assert re.search(r"2,000 layers that differ \(the first [\d,]+; all are in the JSON report\)", text)
    shown = terminal(replace(difference(), layers=layers))
    assert f"... and {2000 - MOST_ROWS} more" in shown
    assert f"layer{MOST_ROWS - 1} " in shown and f"layer{MOST_ROWS} " not in shown


def test_the_terminal_shows_both_sides_and_acts_on_no_name() -> None:
    found = difference()
    odd = replace(found, a=replace(found.a, name="a\x1b[31m"), verdict="x\x1b[2J")
    text = terminal(odd)
    assert "\x1b[31m" not in text and "\x1b[2J" not in text and "a\\x1b[31m" in text
    text = terminal(found)
    (macs,) = [line.split() for line in text.splitlines() if line.startswith("MACs ")][:1]
    assert macs[1:] == ["4.13", "G", "2.06", "G", "2.00x", "-50.05%"]
    assert "repair bn" in text and "fvcore and torch" in text
    alike = Difference("0", found.a, found.a, "identical", "the same", layers=(found.layers[1],))
    assert "layer" not in terminal(alike)


def test_csv_is_a_row_per_layer() -> None:
    rows = list(csv.DictReader(differences(difference()).splitlines()))
    told = difference().to_json()["layers"]
    assert len(rows) == len(told)
    for row, layer in zip(rows, told, strict=True):
        for key in ("params_a", "params_b", "macs_a", "macs_b", "change"):
            assert (float(row[key]) if row[key] else None) == layer[key]
    assert (rows[0]["shape_a"], rows[2]["shape_b"], rows[2]["name"]) == ("64x3x7x7", "", "'=gone@")


def test_the_ending_says_which(tmp_path: Path) -> None:
    for name in ("d.json", "d.md", "d.csv"):
        write_difference(difference(), tmp_path / name)
    assert json.loads((tmp_path / "d.json").read_text()) == difference().to_json()
    assert (tmp_path / "d.md").read_text() == markdown(difference())
    assert (tmp_path / "d.csv").read_text() == differences(difference())

"""Cells of tables: where names break, and that nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from prunecli.report.tables import folded, grid, pairs, safe


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("layer1.0.conv1", 20, ["layer1.0.conv1"]),
        ("encoder.layers.encoder_layer_0.attn", 16, ["encoder.layers", ".encoder_layer_0", ".attn"]),
        ("encoder.layers.encoder_layer_0.attn", 15, ["encoder.layers", ".encoder_layer", "_0.attn"]),
        ("layers.0.attn:heads", 13, ["layers.0.attn", ":heads"]),
        ("conv1, layer1.0.conv1 +24", 14, ["conv1,", "layer1.0.conv1", "+24"]),
        ("one two three", 7, ["one two", "three"]),
        ("relative error 1.25", 18, ["relative error", "1.25"]),
        ("abcdefgh", 3, ["abc", "def", "gh"]),
        ("", 5, [""]),
        ("a", 1, ["a"]),
    ],
)
def test_where_text_breaks(text: str, width: int, lines: list[str]) -> None:
    assert folded(text, width) == lines


@given(st.text(alphabet="ab._: ", max_size=40), st.integers(1, 30))
def test_no_line_is_too_long_and_no_character_is_lost(text: str, width: int) -> None:
    lines = folded(text, width)
    assert max(map(len, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def printed(renderable: object, width: int) -> list[str]:
    console = Console(width=width, markup=False, highlight=False, emoji=False, no_color=True)
    with console.capture() as capture:
        console.print(renderable)
    return [line.rstrip() for line in capture.get().splitlines()]


def test_a_wide_terminal_keeps_names_whole_and_a_narrow_one_breaks_them_at_dots() -> None:
    table = grid("layer", ">units")
    table.add_row(safe("features.denseblock3.denselayer17.conv2"), "32")
    assert printed(table, 60)[-1].split() == ["features.denseblock3.denselayer17.conv2", "32"]
    cells = [line.split()[0] for line in printed(table, 32)[2:]]
    assert cells == ["features.denseblock3", ".denselayer17.conv2"]


def test_what_a_terminal_would_act_on_is_escaped() -> None:
    assert printed(safe("a\x1b[2Jb [red]c[/red]"), 60) == ["a\\x1b[2Jb [red]c[/red]"]
    assert printed(pairs([("name", "x\ny")]), 60) == ["name  x y"]

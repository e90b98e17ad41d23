"""An explanation in print: what is shown, what is cut, what is escaped."""

from __future__ import annotations

from dataclasses import replace

import pytest
from report_examples import EXPLAINED, explanation
from rich.console import Console

from prunecli.report import explained
from prunecli.report.explained import operator_in_words
from prunecli.report.model import Explanation, SliceRow, TieRow, UseRow


def printed(found: Explanation, width: int = 100) -> list[str]:
    console = Console(width=width, markup=False, highlight=False, emoji=False, no_color=True)
    with console.capture() as capture:
        console.print(*explained.explanation(found), sep="\n")
    return [line.rstrip() for line in capture.get().splitlines()]


def words(found: Explanation, width: int = 100) -> list[list[str]]:
    return [line.split() for line in printed(found, width)]


def test_dimensions_then_groups_with_slices_and_operators() -> None:
    lines = printed(explanation())
    assert lines[0] == "resnet50.pth: layer1.0.conv2   torchvision:resnet50"
    rows = words(explanation())
    assert ["layer1.0.conv2.weight", "2", "3", "all", "stay"] in rows
    assert ["fc.weight", "0", "10", "all", "stay:", "the", "network's", "output"] in rows
    assert "group conv1" in lines
    assert ["units", "64", "(channels),", "20", "possible", "sizes"] in rows
    assert ["conv1.weight", "0", "64", "[out:", "units", "of", "conv1]"] in rows
    assert ["layer1.0", "add", "x2", "joins", "axes", "of", "them"] in rows
    assert ["layer1.0.attn", "view", "x3,", "transpose", "passes", "them", "on"] in rows
    text = " ".join(" ".join(lines).split())
    assert "tied 3 of its units go with 1 of a, b, c and 1 more; 1 of its units goes with 2 of e; " in text
    assert "; chunks of equal size in layer1" in text
    assert "must hold 2 x conv1 > 4, for forward" in text
    assert "follows conv1.out_channels = conv1 (now 64)" in text
    assert "prunable yes" in text
    assert "values others change when a unit goes: a LayerNorm averages over it" in text


def test_why_the_rest_of_a_dimension_stays() -> None:
    row = SliceRow("q.weight", 0, 12, "out", "units of q:heads x 4", "it meets a constant")
    text = " ".join(" ".join(printed(replace(explanation(), slices=(row,)))).split())
    assert "[out: units of q:heads x 4], the rest stays: it meets a constant" in text


def test_why_a_group_is_left_whole() -> None:
    whole = replace(EXPLAINED, row=replace(EXPLAINED.row, status="whole", reason="it is a head"), ties=())
    rows = words(replace(explanation(), groups=(whole,)))
    assert ["prunable", "no:", "it", "is", "a", "head"] in rows
    assert ["steps", "chunks", "of", "equal", "size", "in", "layer1"] in rows


def test_sizes_that_are_tied_by_more_than_a_proportion() -> None:
    joint = replace(EXPLAINED, ties=(TieRow("heads", None, None), TieRow("dims", None, None)))
    text = " ".join(" ".join(printed(replace(explanation(), groups=(joint,)))).split())
    assert "tied to the sizes of heads, dims, by more than a proportion; chunks of equal size" in text


def test_long_lists_are_cut_with_their_count() -> None:
    many = replace(
        EXPLAINED,
        slices=tuple(replace(EXPLAINED.slices[0], tensor=f"s{i}") for i in range(explained.MOST_ROWS + 3)),
        uses=tuple(UseRow("aten.add", f"m{i}", "joins", 1) for i in range(explained.MOST_ROWS + 5)),
        patches=tuple(f"p{i}" for i in range(explained.MOST_FACTS + 7)),
    )
    lines = printed(replace(explanation(), groups=(many,)))
    assert {"and 3 more", "and 5 more"} < {line.strip() for line in lines}
    assert any(line.strip() == "and 7 more" for line in lines)
    assert not any(line.startswith(f"s{explained.MOST_ROWS}") for line in lines)
    groups = tuple(replace(EXPLAINED, row=replace(EXPLAINED.row, name=f"g{i}")) for i in range(16))
    lines = printed(replace(explanation(), groups=groups))
    assert "and 4 more groups: g12, g13, g14, ... (all of them with --json)" in lines


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    name = "backbone.stages.3.blocks.17.attention.output.projection"
    row = SliceRow(f"{name}.weight", 0, 4, "out", f"3 x units of {name}")
    ties, uses = (TieRow(name, 1, 3),), (UseRow("x", name, "makes", 1),)
    group = replace(EXPLAINED, slices=(row,), ties=ties, uses=uses)
    lines = printed(replace(explanation(), slices=(row,), groups=(group,)), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)


def test_names_from_files_are_neither_markup_nor_control_characters() -> None:
    evil = "[red]x[/red]\x1b[2J"
    group = replace(
        EXPLAINED,
        row=replace(EXPLAINED.row, name=evil, reason=evil),
        slices=(SliceRow(evil, 0, 4, "out", evil),),
        uses=(UseRow("aten.add", evil, "joins", 1),),
        patches=(evil,),
    )
    text = "\n".join(printed(replace(explanation(), name=evil, groups=(group,)), 200))
    assert "\x1b" not in text
    assert text.count("[red]x[/red]\\x1b[2J") >= 6


@pytest.mark.parametrize(
    ("operator", "word"),
    [
        ("aten._native_batch_norm_legit_no_training", "batch_norm"), ("aten.native_layer_norm", "layer_norm"),
        ("aten.max_pool2d_with_indices", "max_pool2d"), ("aten._unsafe_view", "view"),
        ("aten._safe_softmax", "softmax"), ("aten.add", "add"), ("scaled_dot_product_attention",) * 2,
        ("torchvision.roi_align", "torchvision.roi_align"),
    ],
)  # fmt: skip
def test_operators_by_the_name_everybody_uses(operator: str, word: str) -> None:
    assert operator_in_words(operator) == word

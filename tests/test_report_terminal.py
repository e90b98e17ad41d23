from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from report_examples import FREE, PRUNED, QUALITY, REPAIR, WHOLE, inspection, report, verification
from rich.console import Console, RenderableType

from prunecli.report import terminal
from prunecli.report.model import GroupRow, LayerRow, Proof
from prunecli.report.timed import Latency, LayerLatency, Spread


def printed(parts: Iterable[RenderableType], width: int = 100) -> str:
    console = Console(width=width, markup=False, highlight=False, emoji=False, no_color=True)
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    return capture.get()


def lines(parts: Iterable[RenderableType], width: int = 100) -> list[list[str]]:
    return [line.split() for line in printed(parts, width).splitlines()]


def test_a_run_shows_size_target_proofs_and_groups() -> None:
    rows = lines(terminal.result(report()))
    assert rows[0] == ["resnet50.pth", "->", "small.safetensors", "torchvision:resnet50"]
    assert ["MACs", "4.13", "G", "2.06", "G", "2.00x"] in rows
    assert ["parameters", "25.6", "M", "12.7", "M", "2.01x"] in rows
    text = printed(terminal.result(report()))
    assert "speedup 2: reached 2.001, met (tolerance 0.50%)" in text
    assert "masked network passed (error 1.2e-06, limit 1e-04); reload passed" in text
    assert "aten::cumsum x2" in text
    assert "2.8 s (reload 2.5 s, trace 0.21 s, score 0.05 s)" in text
    assert ["conv1", "64", "40", "37.5%", "conv1,", "bn1", "+1"] in rows
    assert ["1", "it", "reaches", "the", "output", "of", "the", "network"] in rows


def test_long_lists_are_condensed_in_a_run_but_not_in_a_plan() -> None:
    pruned = tuple(replace(PRUNED, name=f"g{i}") for i in range(50))
    whole = tuple(replace(WHOLE, name=f"w{i}", reason=f"reason {i % 10}") for i in range(30))
    text = printed(terminal.result(report(pruned + whole)))
    assert "... and 10 more, in the report" in text
    assert "g39" in text
    assert "g40" not in text
    assert ["6", "other", "reasons,", "in", "the", "report"] in lines(terminal.result(report(pruned + whole)))
    assert "g49" in printed(terminal.planned(report(pruned)))


def test_a_run_shows_the_repair_and_the_quality() -> None:
    parts = terminal.result(replace(report(), repair=REPAIR, quality=QUALITY))
    text = " ".join(printed(parts, 200).split())
    assert (
        "repair least squares on noise, 32 inputs: output error 1.21 -> 0.261 (cut -> repaired), "
        "2 of 3 operations (1 by channel mixing)"
    ) in text
    rows = lines(parts, 200)
    assert ["quality", "dense", "cut", "repaired"] in rows
    assert ["top-1", "99.44%", "34.44%", "99.17%"] in rows
    assert ["output", "error", "(relative)", "-", "1.07", "0.158"] in rows
    assert ["operations", "left", "as", "cut", "reason"] in rows
    assert ["1", "its", "output", "is", "that", "of", "the", "dense", "network", "already"] in rows


def test_a_run_or_a_plan_without_repair_does_not_speak_of_it() -> None:
    for parts in (terminal.result(report()), terminal.planned(report())):
        text = printed(parts)
        assert "repair" not in text
        assert "quality" not in text


def test_verification_names_what_changed_the_weights() -> None:
    text = printed(terminal.verification(replace(verification(), changed_by=("repair lstsq",))))
    assert "changed by  repair lstsq" in text
    assert "changed by" not in printed(terminal.verification(verification()))


def test_an_inspection_shows_layers_or_groups() -> None:
    layers = lines(terminal.inspection(inspection(), groups=False))
    assert ["conv1", "Conv2d", "64x3x7x7", "9.41", "k", "118", "M", "25.0%"] in layers
    groups = printed(terminal.inspection(inspection(), groups=True), 140)
    assert "yes; value-changing: mean over the axis" in groups
    assert "no: it reaches the output of the network" in groups
    assert "2, of which 1 can be pruned" in groups
    assert ["1", "output", "of", "the", "network"] in lines(terminal.inspection(inspection(), groups=True))


def test_an_inspection_shows_the_latency_of_the_whole_and_of_layers() -> None:
    layers = (LayerLatency("conv1", Spread(0.123, 0.1, 0.2)),)
    told = Latency("cpu", 2, 1, "float32", 20, Spread(12.34, 11.9, 13.05), layers=layers)
    found = replace(inspection(), latency=told)
    parts = terminal.inspection(found, groups=False)
    text = " ".join(printed(parts).split())
    assert "latency 12.3 ms (11.9 ms to 13.1 ms in 8 of 10 of 20 runs), batch 1, float32, cpu, 2 thr" in text
    rows = lines(parts)
    assert ["layer", "type", "shape", "params", "MACs", "zeros", "ms"] in rows
    assert ["conv1", "Conv2d", "64x3x7x7", "9.41", "k", "118", "M", "25.0%", "0.123"] in rows
    assert all(row[-1] == "-" for row in rows if row[:2] == ["fc", "Linear"])
    assert "12.3 ms" in printed(terminal.inspection(found, groups=True))
    assert "ms" not in printed(terminal.inspection(inspection(), groups=False)).split()


def test_a_failed_proof_stands_out() -> None:
    text = printed(terminal.verification(verification(Proof("digests", False, detail="tensor 'a' differs"))))
    assert "FAIL" in text
    assert "tensor 'a' differs" in text


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    name = "backbone.stages.3.blocks.17.attention.output.projection.layer_norm_before"
    row = LayerRow(name, "Conv2d", (64, 3, 7, 7), (1,), 1, 1, 1, 1, 0.0)
    found = inspection((replace(FREE, name=name), replace(WHOLE, reason="because " * 30)))
    for parts in (
        terminal.inspection(replace(found, layers=(row,)), groups=False),
        terminal.inspection(found, groups=True),
        terminal.result(report((replace(PRUNED, name=name), WHOLE))),
    ):
        text = printed(parts, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_names_from_files_are_neither_markup_nor_control_characters() -> None:
    evil = GroupRow("[red]x[/red]\x1b[2J\n", "channels", 4, 2, ("\x1b]0;title\x07",), "pruned")
    text = printed(terminal.result(report((evil,))))
    assert "[red]x[/red]\\x1b[2J" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_a_list_of_names_is_one_per_line() -> None:
    assert printed([terminal.listing([{"name": "timm:a"}, {"name": "timm:b"}])]).split() == [
        "timm:a",
        "timm:b",
    ]
    entry = {"name": "lamp", "summary": "layer-adaptive magnitude", "source": "Lee 2021"}
    assert "layer-adaptive magnitude" in printed([terminal.listing([entry])])

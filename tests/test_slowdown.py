"""Which layers are to blame, from figures that can be worked out by hand."""

from __future__ import annotations

import pytest

from prunecli.report.model import LayerRow
from prunecli.report.timed import LayerLatency, Spread
from prunecli.slowdown import Between, Slowdown, slowdown


def row(name: str, before: tuple[int, ...], after: tuple[int, ...], macs: tuple[int, int]) -> LayerRow:
    return LayerRow(name, "", before, after, 0, 0, *macs, 0.0)


def took(name: str, before: float, after: float | None) -> LayerLatency:
    ends = [None if time is None else Spread(time, time, time) for time in (before, after)]
    assert ends[0] is not None
    return LayerLatency(name, ends[0], ends[1])


def found(rows: list[LayerRow], layers: list[LayerLatency], **more: object) -> Slowdown:
    why = slowdown(rows, layers, 1.0, 2.0, **more)  # type: ignore[arg-type]
    assert why is not None
    return why


WIDE = ((64, 64, 3, 3), (32, 32, 3, 3))


def test_seven_tenths_of_the_ratio_is_fast_enough() -> None:
    rows, layers = [row("a", *WIDE, (4, 1))], [took("a", 4.0, 4.0)]
    assert slowdown(rows, layers, 1.4, 2.0) is None
    assert slowdown(rows, layers, 1.39, 2.0) is not None


def test_the_layers_that_lose_most_come_first() -> None:
    """Of 4 ms a quarter should be left; what is more than that is lost."""
    after = {"a": 1.5, "b": 3.0, "c": 1.0, "d": 0.9, "e": 2.0, "f": None}
    rows = [row(name, *WIDE, (400, 100)) for name in after]
    layers = [took(name, 4.0, time) for name, time in after.items()]
    assert found(rows, layers).slow == ("b", "e", "a")


def test_at_most_five_layers_are_named() -> None:
    rows = [row(str(i), *WIDE, (2, 1)) for i in range(9)]
    assert found(rows, [took(str(i), 10.0, 6.0 + i) for i in range(9)]).slow == ("8", "7", "6", "5", "4")


def test_a_layer_that_no_row_knows_or_that_was_not_cut_is_not_blamed() -> None:
    rows = [row("a", (64,), (64,), (8, 8))]
    assert found(rows, [took("a", 2.0, 2.0), took("b", 2.0, 2.0)]).slow == ()


@pytest.mark.parametrize(
    ("before", "after", "round_to", "multiple"),
    [
        ((64, 64, 3, 3), (37, 64, 3, 3), 1, 8),
        ((64, 64, 3, 3), (64, 37, 3, 3), 1, 8),
        ((64, 64, 3, 3), (40, 32, 3, 3), 1, 16),
        ((64, 64, 3, 3), (48, 32, 3, 3), 1, 32),
        ((64, 64, 3, 3), (32, 32, 3, 3), 1, None),
        ((64, 64, 3, 3), (37, 64, 3, 3), 8, 16),
        ((64, 64, 3, 3), (37, 64, 3, 3), 32, None),
        ((12, 64), (8, 64), 1, None),
        ((12, 64), (7, 64), 1, None),
        ((8, 64, 3, 3), (5, 64, 3, 3), 1, None),
        ((15, 64), (9, 64), 1, None),
        ((16, 64), (9, 64), 1, 8),
        ((16, 64), (8, 64), 1, None),
        ((64, 8), (37, 5), 16, 32),
        ((48, 8), (37, 5), 16, None),
        ((10, 64), (10, 64), 1, None),
    ],
)
def test_the_smallest_multiple_that_a_cut_width_is_not(
    before: tuple[int, ...], after: tuple[int, ...], round_to: int, multiple: int | None
) -> None:
    advice = found([row("a", before, after, (4, 1))], [took("a", 4.0, 4.0)], round_to=round_to).advice
    assert [n for n in (8, 16, 32) if f"--round-to {n} " in advice] == (
        [] if multiple is None else [multiple]
    )
    if multiple is None:
        assert advice == "no --round-to would help here: what is left is memory traffic and the cost of calls"


def test_the_widths_that_are_uneven_are_named_once() -> None:
    rows = [row("a", (64, 3, 7, 7), (37, 3, 7, 7), (4, 2)), row("b", (64, 64), (40, 37), (4, 1))]
    advice = found(rows, [took("a", 4.0, 4.0), took("b", 4.0, 4.0)]).advice
    assert advice == "--round-to 8 makes widths there multiples of 8 (now 37)"


@pytest.mark.parametrize("shape", [(32,), (32, 1, 3, 3), (32, 1, 5)])
def test_layers_that_move_more_than_they_compute_are_said_to(shape: tuple[int, ...]) -> None:
    before = (64, *shape[1:])
    bound = "bound by memory (depthwise or element by element), not by MACs"
    advice = found([row("a", before, shape, (4, 2))], [took("a", 4.0, 4.0)]).advice
    assert advice == f"it is {bound}"
    rows = [row("a", before, shape, (4, 2)), row("b", *WIDE, (4, 1))]
    advice = found(rows, [took("a", 4.0, 4.0), took("b", 4.0, 4.0)]).advice
    assert advice == f"1 of them is {bound}"
    rows += [row("c", *WIDE, (4, 1))]
    advice = found(rows, [took("a", 4.0, 4.0), took("b", 4.0, 4.0), took("c", 4.0, 4.0)]).advice
    assert bound not in advice


def test_no_rounding_for_layers_that_are_tiny() -> None:
    """With both, the widths of the one that is not tiny are named, and no others."""
    rows = [row("a", (64, 64), (37, 64), (4, 1)), row("b", (64, 64), (29, 64), (4, 1))]
    tiny = found(rows, [took("a", 0.04, 0.04), took("b", 0.049, 0.049)]).advice
    assert tiny == "2 layers there take under 0.05 ms, hardly more than a call costs"
    mixed = found(rows, [took("a", 0.04, 0.04), took("b", 0.05, 0.05)]).advice
    assert mixed.startswith("--round-to 8 makes widths there multiples of 8 (now 29); 1 layer")


def test_layers_as_short_as_a_call_are_said_to_be() -> None:
    rows = [row("a", *WIDE, (4, 1)), row("b", *WIDE, (4, 1))]
    said = "2 layers there take under 0.05 ms, hardly more than a call costs"
    assert found(rows, [took("a", 0.04, 0.03), took("b", 0.04, 0.04)]).advice == said
    assert "cost of calls" in found(rows, [took("a", 0.4, 0.3), took("b", 0.4, 0.4)]).advice


def test_what_lies_between_layers_is_blamed_where_it_loses_more() -> None:
    """The layers lose 1 ms; of 8 ms between them 4 should be left."""
    rows, layers = [row("a", *WIDE, (4, 2))], [took("a", 4.0, 3.0)]
    said = found(rows, layers, between=Between(8.0, 7.0)).advice
    assert said == (
        "70% of the time is spent outside these layers (activations, sums, copies), "
        "where fewer MACs save little"
    )
    assert "outside" not in found(rows, layers, between=Between(8.0, 5.0)).advice

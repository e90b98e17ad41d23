"""Divisors of unit counts, worked out by hand."""

from __future__ import annotations

import pytest
from spaces import Sketch, attention, chain

from prunecli.coupling.axes import Concat, Fixed, Product
from prunecli.coupling.space import Space
from prunecli.selection.rounding import quanta as quanta_of


def quanta(space: Space, multiple: int, **own: int) -> tuple[dict[str, int], dict[str, int]]:
    return quanta_of(space, multiple, own)


def test_a_plain_width_needs_the_multiple_itself() -> None:
    assert quanta(chain(16, 12, 8).space(), 8) == ({"g0": 8, "g1": 8, "g2": 8}, {})


def test_nothing_is_asked_without_rounding() -> None:
    assert quanta(chain(16).space(), 1) == ({"g0": 1}, {})


def test_a_narrow_group_cannot_comply_and_is_named() -> None:
    assert quanta(chain(16, 6).space(), 8) == ({"g0": 8, "g1": 1}, {"g1": 8})


@pytest.mark.parametrize(("multiple", "divisor"), [(4, 1), (8, 2), (16, 4)])
def test_frozen_heads_share_the_burden_of_head_dimensions(multiple: int, divisor: int) -> None:
    assert quanta(attention(heads=4, head_dim=6).space(), multiple)[0]["head_dim"] == divisor


def test_heads_that_may_go_do_not() -> None:
    result, _ = quanta(attention(heads=4, head_dim=8, frozen_heads=False).space(), 4)
    assert result == {"width": 4, "qkv:heads": 4, "head_dim": 4}


def test_every_part_of_a_concatenation_complies() -> None:
    sketch = Sketch()
    a, b = sketch.units("a", 16), sketch.units("b", 6)
    sketch.conv("join", Fixed(8), Concat((a, Product((Fixed(4), b)))))
    assert quanta(sketch.space(), 8) == ({"a": 8, "b": 2}, {})


def test_grouped_convolutions_round_the_whole_width() -> None:
    sketch = Sketch()
    groups, inner = sketch.units("groups", 4, "group counts are kept"), sketch.units("inner", 6)
    sketch.conv("grouped", Product((groups, inner)), inner)
    sketch.norm("bn", Product((groups, inner)))
    assert quanta(sketch.space(), 8)[0]["inner"] == 2


def test_a_group_found_only_in_inputs_is_rounded_there() -> None:
    sketch = Sketch()
    sketch.conv("conv", Fixed(8), sketch.units("hidden", 16))
    assert quanta(sketch.space(), 8) == ({"hidden": 8}, {})


@pytest.mark.parametrize(("multiple", "others"), [(1, 1), (4, 4)])
def test_a_multiple_of_its_own_overrules_the_common_one(multiple: int, others: int) -> None:
    divisors, narrow = quanta(chain(16, 12, 8).space(), multiple, g1=6)
    assert divisors == {"g0": others, "g1": 6, "g2": others}
    assert narrow == {}
    assert quanta(chain(16, 12).space(), 8, g1=1) == ({"g0": 8, "g1": 1}, {})


def test_a_multiple_of_its_own_is_of_units_and_not_of_the_width() -> None:
    space = attention(heads=4, head_dim=12).space()
    assert quanta(space, 8)[0]["head_dim"] == 2
    assert quanta(space, 1, head_dim=8)[0]["head_dim"] == 8


def test_a_multiple_beyond_the_group_is_named() -> None:
    assert quanta(chain(16, 6).space(), 8, g0=32) == ({"g0": 1, "g1": 1}, {"g0": 32, "g1": 8})

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunecli.coupling.axes import Concat, Fixed, Product, Units
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Group, Space
from prunecli.repair.places import kept_inputs, kept_outputs
from prunecli.running.calls import Call, Geometry

A, B = Units("a"), Units("b")
KEEP = {"a": (0, 2), "b": (1, 3, 4)}


def space(**axes: tuple[object, ...]) -> Space:
    groups = (Group("a", 4, ()), Group("b", 5, ()))
    none = Polynomial({})
    return Space(groups, axes, (), (), (), (), none, none)  # type: ignore[arg-type]


def call(weight: Tensor, kind: str = "product", groups: int = 1) -> Call:
    return Call(kind, torch.zeros(0), weight, None, "w", Geometry(groups=groups))  # type: ignore[arg-type]


def test_a_linear_weight_and_its_transpose() -> None:
    weight = nn.Parameter(torch.randn(5, 4))
    at = space(w=(B, A))
    assert kept_outputs(call(weight.t()), weight, at, KEEP).tolist() == [1, 3, 4]
    assert kept_inputs(call(weight.t()), weight, at, KEEP).tolist() == [0, 2]
    upright = nn.Parameter(torch.randn(4, 5))
    assert kept_outputs(call(upright), upright, space(w=(A, B)), KEEP).tolist() == [1, 3, 4]


def test_some_rows_of_a_packed_weight() -> None:
    weight = nn.Parameter(torch.randn(14, 4))
    at = space(w=(Concat((B, Fixed(4), B)), A))
    first, second = weight[:9], weight[9:]
    assert kept_outputs(call(first.t()), weight, at, KEEP).tolist() == [1, 3, 4, 5, 6, 7, 8]
    assert kept_outputs(call(second.t()), weight, at, KEEP).tolist() == [1, 3, 4]


def test_transposed_convolutions_with_groups() -> None:
    weight = nn.Parameter(torch.randn(8, 5, 3))
    at = space(w=(Product((Fixed(2), A)), B, Fixed(3)))
    kept = kept_outputs(call(weight, "transposed", 2), weight, at, KEEP)
    assert kept.tolist() == [1, 3, 4, 6, 8, 9]


def test_a_view_that_is_not_followed() -> None:
    weight = nn.Parameter(torch.randn(4, 5))
    assert kept_outputs(call(weight[:, ::2]), weight, space(w=(A, B)), KEEP) is None
    assert kept_outputs(call(torch.randn(4, 6, 3), "convolution"), weight, space(w=(A, B)), KEEP) is None

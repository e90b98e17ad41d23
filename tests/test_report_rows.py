from __future__ import annotations

import torch
from torch import nn

from prunecli.coupling.axes import Fixed, Units
from prunecli.coupling.cost import Polynomial
from prunecli.coupling.space import Group, PinnedDim, Slot, Space
from prunecli.report.rows import NOT_SELECTED, group_rows, layer_rows, pinned_rows, score_rows


class _Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.body = nn.Sequential(nn.Linear(3, width, bias=False), nn.ReLU(), nn.Linear(width, 2))


# The root does 10 on its own, body.0 does 12, body.1 (no parameters) 4, body.2 8.
MACS = {"": 34, "body": 24, "body.0": 12, "body.1": 4, "body.2": 8}


def test_rows_add_up_to_the_totals() -> None:
    dense, small = _Net(4), _Net(2)
    rows = layer_rows(dense, small, MACS, {name: value // 2 for name, value in MACS.items()})
    assert [row.name for row in rows] == ["", "body.0", "body.1", "body.2"]
    assert sum(row.params_before for row in rows) == sum(p.numel() for p in dense.parameters())
    assert sum(row.params_after for row in rows) == sum(p.numel() for p in small.parameters())
    assert [row.macs_before for row in rows] == [10, 12, 4, 8]
    assert sum(row.macs_after for row in rows) == 17
    assert [row.type for row in rows] == ["_Net", "Linear", "ReLU", "Linear"]
    assert rows[1].shape_before == (4, 3)
    assert rows[1].shape_after == (2, 3)
    assert rows[2].shape_before == ()
    assert rows[0].shape_before == (3,)


def test_sparsity_is_the_fraction_of_exact_zeros() -> None:
    net = _Net(4)
    with torch.no_grad():
        net.body[2].weight.fill_(1.0)
        net.body[2].bias.copy_(torch.tensor([0.0, -0.0]))
        net.body[2].weight[0, :3] = 0
    row = layer_rows(net, None, MACS, {})[-1]
    assert row.sparsity == 5 / 10
    assert row.shape_after == row.shape_before
    assert row.macs_after == row.macs_before == 8


def test_layers_without_parameters_or_arithmetic_have_no_row() -> None:
    assert [row.name for row in layer_rows(_Net(4), None, {}, {})] == ["", "body.0", "body.2"]


def _space() -> Space:
    def group(name: str, frozen: str | None = None) -> Group:
        slots = (
            Slot(f"{name}.weight", 0, "out"),
            Slot(f"{name}.bias", 0, "bias"),
            Slot("next.weight", 1, "in"),
        )
        return Group(name, 8, slots, "channels", frozen, None)

    return Space(
        groups=(group("a"), group("b"), group("c", "it reaches the output"), group("d")),
        axes={"a.weight": (Units("a"), Fixed(3))},
        bundles=(),
        guards=(),
        patches=(),
        pinned=(PinnedDim("a.weight", 1, "input of the network"),),
        macs=Polynomial({}),
        params=Polynomial({}),
    )


def test_every_group_that_is_not_pruned_says_why() -> None:
    rows = group_rows(_space(), {"a": 5, "b": 8}, {"b": "not scorable: no BatchNorm"})
    assert [(row.name, row.status, row.kept, row.reason) for row in rows] == [
        ("a", "pruned", 5, None),
        ("b", "whole", 8, "not scorable: no BatchNorm"),
        ("c", "whole", 8, "it reaches the output"),
        ("d", "whole", 8, NOT_SELECTED),
    ]
    assert rows[0].layers == ("a", "next")


def test_before_anything_was_asked_a_free_group_is_prunable() -> None:
    assert [row.status for row in group_rows(_space(), None)] == ["prunable", "prunable", "whole", "prunable"]


def test_pinned_dimensions_are_listed() -> None:
    (row,) = pinned_rows(_space())
    assert (row.parameter, row.dim, row.reason) == ("a.weight", 1, "input of the network")


def test_scores_by_hand() -> None:
    """Twelfths of 0 to 12 are one wide; the highest belongs to the last."""
    scores = {
        "a": torch.tensor([0.5, 12.0, 0.0, 3.2, 11.5]),
        "b": torch.ones(2),
        "c": torch.tensor([0.0, 1.0]),
    }
    a, b, c = score_rows(scores, {"a": (1, 4), "b": (1,)})
    assert (a.group, a.low, a.high) == ("a", 0.0, 12.0)
    assert a.counts == (2, 0, 0, 1, *[0] * 7, 2)
    assert a.removed == (2, 0, 0, 1, *[0] * 8)
    assert (b.low, b.high) == (1.0, 1.0)
    assert (b.counts, b.removed) == ((2, *[0] * 11), (1, *[0] * 11))
    assert (c.counts, c.removed) == ((1, *[0] * 10, 1), (0,) * 12)

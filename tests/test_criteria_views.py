"""Segments of axes against one owner per index, and sums by blocks against whole sums."""

from __future__ import annotations

import pytest
import torch

from prunecli.coupling.axes import Axis, Concat, Fixed, Product, Units, owners
from prunecli.criteria import views
from prunecli.criteria.views import segments_of, sums_per_index

SIZES = {"a": 3, "b": 4}
AXES: list[Axis] = [
    Units("a"),
    Product((Fixed(2), Units("b"))),
    Product((Units("a"), Units("b"))),
    Concat((Units("a"), Fixed(2), Units("b"), Units("a"))),
    Concat((Fixed(1), Concat((Product((Units("b"), Fixed(2))), Units("a"))), Units("b"))),
]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("group", ["a", "b"])
def test_segments_own_what_the_axis_says(axis: Axis, group: str) -> None:
    owner = owners(axis, SIZES, group)
    segments = segments_of(axis, SIZES).get(group, ())
    sums = torch.arange(1.0, len(owner) + 1, dtype=torch.float64)
    total = sum((s.per_unit(sums, SIZES[group]) for s in segments), torch.zeros(SIZES[group]))
    assert total.tolist() == [float(sums[owner == unit].sum()) for unit in range(SIZES[group])]
    for unit in range(SIZES[group]) if segments else ():
        indices = torch.cat([s.indices(SIZES[group])[unit] for s in segments])
        assert indices.tolist() == torch.where(owner == unit)[0].tolist()


@pytest.mark.parametrize("shape", [(7,), (5, 3), (1, 1, 4), (6, 2, 3, 3)])
@pytest.mark.parametrize("block", [1, 20, 1 << 16])
def test_sums_by_blocks_are_the_sums(
    shape: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_BLOCK_ELEMENTS", block)
    tensor = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = tensor.clone()
    sums = sums_per_index(tensor, torch.abs_, range(len(shape)))
    assert torch.equal(tensor, before)
    for dim in range(len(shape)):
        expected = tensor.double().abs().movedim(dim, 0).reshape(shape[dim], -1).sum(1)
        torch.testing.assert_close(sums[dim], expected)

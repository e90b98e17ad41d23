"""What a shortcut gives is what torch's own meta kernel gives: shapes and types, in every case it takes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from prunecli.coupling.recording import tensors_in
from prunecli.coupling.shortcuts import SHORTCUTS

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


IMAGE, ROWS, VECTOR = meta(2, 6, 9, 7), meta(4, 5), meta(6)
NORM = (VECTOR, VECTOR, VECTOR, VECTOR)
TAKEN: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.native_batch_norm.default, (IMAGE, *NORM, False, 0.1, 1e-5)),
    (aten.native_layer_norm.default, (ROWS, [5], meta(5), meta(5), 1e-5)),
    (aten.convolution.default, (IMAGE, meta(8, 3, 3, 2), None, [2, 1], [1], [2, 1], False, [0, 0], 2)),
    (aten.addmm.default, (meta(3), ROWS, meta(5, 3))),
    (aten.cat.default, ([ROWS, meta(4, 2)], 1)),
    (aten.cat.default, ([ROWS, meta(3, 5)],)),
    (aten.mean.dim, (IMAGE, [2, -1])),
    (aten.mean.dim, (IMAGE, [1], True)),
    (aten.bmm.default, (meta(3, 4, 5), meta(3, 5, 2))),
    (aten.upsample_nearest2d.default, (IMAGE, [18, 14], 2.0, 2.0)),
    (aten.upsample_bilinear2d.default, (IMAGE, [5, 20], False)),
    (aten.upsample_bicubic2d.default, (IMAGE, [5, 20], True)),
    *((op, (ROWS, other)) for op in (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)
      for other in (meta(4, 5), meta(5), meta(4, 1), meta(3, 4, 5), meta(), 2, 0.5)),
    *((op, (meta(4, 5), meta(4, 5))) for op in (aten.add_.Tensor, aten.mul_.Tensor)),
    *((op, (meta(4, 5),)) for op in SHORTCUTS if len(op._schema.arguments) == 1),
    (aten.clamp.Tensor, (ROWS, meta(), meta(5))),
    (aten.clamp.Tensor, (ROWS, None, meta(3, 1, 5))),
    (aten.pow.Tensor_Scalar, (ROWS, 2)),
    (aten.pow.Tensor_Scalar, (ROWS, -0.5)),
    (aten.add_.Scalar, (meta(4, 5), 1e-6)),
    (aten.gelu.default, (ROWS,)),
    (aten.hardtanh.default, (ROWS, 0.0, 6.0)),
    (aten.hardtanh_.default, (meta(4, 5), 0.0, 6.0)),
    (aten._softmax.default, (ROWS, 1, False)),
]  # fmt: skip
LEFT: list[tuple[Any, tuple[Any, ...]]] = [
    (aten.add.Tensor, (meta(4, 5, dtype=torch.int64), meta(4, 5))),
    (aten.add.Tensor, (meta(4, 5, dtype=torch.bfloat16), meta(5))),
    (aten.div.Tensor, (meta(4, dtype=torch.int64), 2)),
    (aten.add.Tensor, (ROWS, 1j)),
    (aten.sqrt.default, (meta(4, dtype=torch.int64),)),
    (aten.clamp.Tensor, (ROWS, meta(5, dtype=torch.int64))),
    (aten.pow.Tensor_Scalar, (meta(4, dtype=torch.int64), 2)),
    (aten.cat.default, ([ROWS, meta(4, 5, dtype=torch.int64)], 1)),
    (aten.convolution.default, (IMAGE, meta(6, 8, 2, 2), None, [2], [0], [1], True, [0, 0], 1)),
    (aten.mean.dim, (IMAGE, None)),
]


def seen(result: Any) -> list[tuple[torch.Size, torch.dtype]]:
    """The first result; statistics of a norm are read by nobody."""
    first = tensors_in(result)[0]
    return [(first.shape, first.dtype)]


@pytest.mark.parametrize(("operator", "arguments"), TAKEN, ids=lambda value: str(value)[:40])
def test_a_shortcut_gives_what_torch_gives(operator: Any, arguments: tuple[Any, ...]) -> None:
    found = SHORTCUTS[operator](arguments)
    assert found is not None
    assert seen(found) == seen(operator(*arguments))


@pytest.mark.parametrize(("operator", "arguments"), LEFT, ids=lambda value: str(value)[:40])
def test_what_it_cannot_say_is_left_to_torch(operator: Any, arguments: tuple[Any, ...]) -> None:
    assert SHORTCUTS[operator](arguments) is None


def test_keywords_that_change_values_only() -> None:
    assert seen(SHORTCUTS[aten.gelu.default]((ROWS,))) == seen(aten.gelu.default(ROWS, approximate="tanh"))
    assert seen(SHORTCUTS[aten.add.Tensor]((ROWS, ROWS))) == seen(aten.add.Tensor(ROWS, ROWS, alpha=2))


def test_every_shortcut_is_held_against_torch() -> None:
    assert {operator for operator, _ in TAKEN} == set(SHORTCUTS)

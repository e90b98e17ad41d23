from __future__ import annotations

import numpy as np
import pytest
import torch

from prunecli.criteria import ranks as room
from prunecli.criteria.ranks import ranks


def by_numpy(maps: torch.Tensor) -> list[int]:
    found = []
    for one in maps.double().numpy().reshape(-1, *maps.shape[-2:]):
        values = np.linalg.svd(one, compute_uv=False)
        found.append(int((values > max(one.shape) * np.finfo(np.float32).eps * values[0]).sum()))
    return found


def test_ranks_of_products_of_every_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.stack([
        torch.randn(9, r, generator=generator) @ torch.randn(r, 7, generator=generator) for r in range(8)
    ])  # fmt: skip
    assert ranks(maps).tolist() == list(range(8))


def test_sparse_maps_after_a_relu_as_numpy_has_them() -> None:
    generator = torch.Generator().manual_seed(1)
    maps = (torch.randn(6, 5, 8, 8, generator=generator) - 1).relu()
    assert ranks(maps).flatten().tolist() == by_numpy(maps)
    assert len(set(ranks(maps).flatten().tolist())) > 2


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.randn(11, 4, 4, generator=torch.Generator().manual_seed(2)).relu()
    whole = ranks(maps)
    monkeypatch.setattr(room, "_AT_ONCE", 40)
    assert torch.equal(ranks(maps), whole)


def test_maps_of_one_number_and_none() -> None:
    assert ranks(torch.tensor([[[2.0]], [[0.0]]])).tolist() == [1, 0]
    assert ranks(torch.zeros(3, 0, 4)).tolist() == [0, 0, 0]

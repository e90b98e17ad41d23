"""Numerical ranks of many small matrices."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = torch.finfo(torch.float32).eps
_AT_ONCE = 1 << 21  # numbers; 16 MiB of float64


def ranks(maps: Tensor) -> Tensor:
    """How many singular values of each of ``[..., h, w]`` exceed ``max(h, w)`` times float32's epsilon times
    the largest: int64 ``[...]``.
    """
    if not maps.numel():
        return torch.zeros(maps.shape[:-2], dtype=torch.int64, device=maps.device)
    flat = maps.reshape(-1, *maps.shape[-2:])
    step = max(1, _AT_ONCE // flat[0].numel())
    found = [_ranks(flat[start : start + step]) for start in range(0, len(flat), step)]
    return torch.cat(found).reshape(maps.shape[:-2])


def _ranks(maps: Tensor) -> Tensor:
    values = torch.linalg.svdvals(maps)
    large: Tensor = values > max(maps.shape[-2:]) * _EPSILON * values[:, :1]
    return large.sum(1)

"""Criteria that read the weights: norms, LAMP, BatchNorm scales, and chance as the baseline."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from prunecli.criteria.normalize import lamp
from prunecli.criteria.registry import Criterion, register_criterion
from prunecli.criteria.views import GroupView, SlotView


def _absolute_sum(slot: SlotView) -> Tensor:
    return slot.sum_of(torch.abs_)


def _square_sum(slot: SlotView) -> Tensor:
    return slot.sum_of(torch.square_)


def _batch_norm_scale(slot: SlotView) -> Tensor | None:
    return slot.sum_of(torch.abs_) if slot.is_batch_norm_scale else None


def _uniform(view: GroupView) -> Tensor:
    """U(0, 1) per unit from a generator seeded by the group's name: no order of groups or device matters."""
    digest = hashlib.sha256(f"{view.seed}:{view.group.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
    return torch.rand(view.group.size, generator=generator, dtype=torch.float64)


register_criterion(
    Criterion(
        "random", "a number drawn per unit, seeded", "Mittal et al. 2018", of_group=_uniform, normalize="none"
    )
)
register_criterion(
    Criterion(
        "magnitude-l1",
        "sum of absolute weights over all slots",
        "Li et al. 2017",
        _absolute_sum,
        sums=torch.abs_,
    )
)
register_criterion(
    Criterion(
        "magnitude-l2", "Euclidean norm of the weights over all slots", "He et al. 2018; Fang et al. 2023",
        _square_sum, torch.sqrt, sums=torch.square_,
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "bn-scale", "absolute BatchNorm scale", "Liu et al. 2017 (Network Slimming)", _batch_norm_scale,
        not_scorable="no BatchNorm", normalize="none",
    )
)  # fmt: skip
register_criterion(
    Criterion(
        "lamp", "squared norm relative to that of all units at least as large", "Lee et al. 2021",
        _square_sum, lamp, normalize="none", sums=torch.square_,
    )
)  # fmt: skip

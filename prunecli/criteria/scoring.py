"""``score``: every group's units under one criterion, reduced over slots and normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from prunecli.coupling.space import Role, Space
from prunecli.criteria.evidence import NOTHING, Evidence
from prunecli.criteria.normalize import NORMALIZE, REDUCE
from prunecli.criteria.registry import Criterion, find
from prunecli.criteria.views import GroupView, group_views
from prunecli.errors import InputError, needs_data, unknown_name

# Smaller tensors cost more to hand to another thread than to sum.
_LARGE = 1 << 14


@dataclass(frozen=True)
class Scores:
    """``by_group``: float32 ``[n]`` (CPU) per scored group; ``not_scorable``: a reason per other group."""

    by_group: Mapping[str, Tensor]
    not_scorable: Mapping[str, str]


def score(
    space: Space,
    tensors: Mapping[str, Tensor],
    criterion: str,
    *,
    reduce: str | None = None,
    normalize: str | None = None,
    scheme: str = "protected",
    seed: int = 0,
    device: str = "cpu",
    evidence: Evidence | None = None,
) -> Scores:
    """Scores of every group that is not frozen; the lowest is removed first.

    ``evidence`` is what :func:`prunecli.criteria.gather` found, for a criterion that needs it.
    ``reduce=None`` takes the criterion's own, ``normalize=None`` its default under global schemes, and
    ``none`` under local ones.

    Raises ``UsageError`` for unknown names and for a criterion that lacks its data, ``InputError`` for a
    score that is not finite.
    """
    chosen = find(criterion)
    if reduce is not None and reduce not in REDUCE:
        raise unknown_name("reduction", reduce, REDUCE)
    if chosen.needs and evidence is None:
        raise needs_data(criterion)
    if normalize is None:
        normalize = "none" if scheme in ("local", "uniform") else chosen.normalize
    if normalize not in NORMALIZE:
        raise unknown_name("normalization", normalize, NORMALIZE)
    by_group: dict[str, Tensor] = {}
    not_scorable: dict[str, str] = {}
    workers = torch.get_num_threads()
    with one_thread(), torch.no_grad():
        views = group_views(space, tensors, seed, _float64_device(device), evidence)
        _take_sums(views, chosen, workers)
        for view in views:
            values = _before_finish(view, chosen, reduce, evidence or NOTHING)
            if values is None:
                not_scorable[view.group.name] = chosen.not_scorable
                continue
            scores = NORMALIZE[normalize](chosen.finish(values)).to(torch.float32)
            _require_finite(scores, f"group '{view.group.name}'", chosen)
            by_group[view.group.name] = scores
    return Scores(by_group, not_scorable)


def _take_sums(views: Sequence[GroupView], criterion: Criterion, workers: int) -> None:
    """Pass over the large parameters side by side, largest first; one thread takes each sum."""
    function = criterion.sums
    if function is None:
        return
    parameters = {id(slot.parameter): slot.parameter for view in views for slot in view.slots}.values()
    large = sorted((p for p in parameters if p.tensor.numel() >= _LARGE), key=lambda p: -p.tensor.numel())
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda parameter: parameter.sums(function), large):
            pass


def _before_finish(
    view: GroupView, criterion: Criterion, reduce: str | None, evidence: Evidence
) -> Tensor | None:
    if criterion.each is None:
        return reduced(view, criterion, reduce)
    return evidence.scores[criterion.name].get(view.group.name)


def reduced(view: GroupView, criterion: Criterion, reduce: str | None) -> Tensor | None:
    """The statistics of all slots, reduced; None where no slot says anything."""
    if criterion.of_group is not None:
        return criterion.of_group(view)
    statistics: list[Tensor] = []
    roles: list[Role] = []
    parameters: list[str] = []
    for slot in view.slots:
        values = criterion.statistic(slot) if criterion.statistic else None
        if values is not None:
            statistics.append(values)
            roles.append(slot.role)
            parameters.append(slot.slot.parameter)
    if not statistics:
        return None
    result = REDUCE[reduce or criterion.reduce](statistics, roles)
    if not bool(torch.isfinite(result).all()):
        for values, parameter in zip(statistics, parameters, strict=True):
            _require_finite(values, f"'{parameter}'", criterion)
    return result


def _require_finite(values: Tensor, where: str, criterion: Criterion) -> None:
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            f"NaN or Inf in the {criterion.name} scores of {where}", "check the checkpoint's weights"
        )


def _float64_device(device: str) -> torch.device:
    """The compute device, or the CPU where it has no float64 (Apple's)."""
    return torch.device("cpu") if device.startswith("mps") else torch.device(device)


@contextmanager
def one_thread() -> Iterator[None]:
    """One intra-op thread inside: sums must not depend on how many threads there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Rows of the report from a network and its space. Reads shapes and weights, runs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prunecli.report.figures import ScoreHistogram
from prunecli.report.histograms import BINS, counts
from prunecli.report.model import GroupRow, LayerRow, PinnedRow, Status

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prunecli.coupling.space import Group, Space

NOT_SELECTED = "none of its units was among those selected for removal"


def layer_rows(
    before: nn.Module,
    after: nn.Module | None,
    macs_before: Mapping[str, int],
    macs_after: Mapping[str, int],
) -> tuple[LayerRow, ...]:
    """One row per module that owns parameters or does arithmetic of its own, in the order of
    ``named_modules``.

    ``macs_*`` map a module name ('' is the root) to its multiply-adds **including** those of its children,
    as fvcore reports them; a row has the module's own, so the rows add up to the total. Without ``after``
    the row's two halves are the same.
    """
    other = dict(before.named_modules()) if after is None else dict(after.named_modules())
    later = macs_before if after is None else macs_after
    rows = []
    for name, module in before.named_modules():
        cut = other.get(name, module)
        macs = _own_macs(name, module, macs_before)
        if not macs and not any(True for _ in module.parameters(recurse=False)):
            continue
        rows.append(
            LayerRow(
                name=name,
                type=type(module).__name__,
                shape_before=_shape(module),
                shape_after=_shape(cut),
                params_before=_own_params(module),
                params_after=_own_params(cut),
                macs_before=macs,
                macs_after=_own_macs(name, cut, later),
                sparsity=_sparsity(module),
            )
        )
    return tuple(rows)


def group_rows(
    space: Space, kept: Mapping[str, int] | None, reasons: Mapping[str, str] | None = None
) -> tuple[GroupRow, ...]:
    """One row per group of the dense ``space``. ``kept`` maps groups to kept units; None means nothing was
    asked yet.

    ``reasons`` explains groups left whole that are not frozen in ``space`` (not scorable, rejected by a
    proof).
    """
    return tuple(_group_row(group, kept, reasons or {}) for group in space.groups)


def pinned_rows(space: Space) -> tuple[PinnedRow, ...]:
    """One row per pinned dimension of a parameter."""
    return tuple(PinnedRow(pin.parameter, pin.dim, pin.reason) for pin in space.pinned)


def score_rows(scores: Mapping[str, Tensor], stay: Mapping[str, Sequence[int]]) -> tuple[ScoreHistogram, ...]:
    """One histogram per scored group, of all its units (``[n]``) and of those that are not among what it was
    said to keep in ``stay``; a group that is not there kept all.
    """
    return tuple(_histogram(name, values.tolist(), stay.get(name)) for name, values in scores.items())


def _histogram(name: str, values: Sequence[float], stay: Sequence[int] | None) -> ScoreHistogram:
    low, high = min(values), max(values)
    kept = set(range(len(values)) if stay is None else stay)
    gone = [value for unit, value in enumerate(values) if unit not in kept]
    removed = counts(gone, low=low, high=high) if gone else [0] * BINS
    return ScoreHistogram(name, low, high, tuple(counts(values)), tuple(removed))


def _group_row(group: Group, kept: Mapping[str, int] | None, reasons: Mapping[str, str]) -> GroupRow:
    count = group.size if kept is None else kept.get(group.name, group.size)
    reason = group.frozen or reasons.get(group.name)
    status: Status = "pruned" if count < group.size else "whole"
    if status == "whole" and reason is None and kept is None:
        status = "prunable"
    return GroupRow(
        name=group.name,
        kind=group.kind,
        dense=group.size,
        kept=count,
        layers=tuple(dict.fromkeys(slot.parameter.rpartition(".")[0] for slot in group.slots)),
        status=status,
        reason=(reason or NOT_SELECTED) if status == "whole" else None,
        value_changing=group.value_changing,
    )


def _own_macs(name: str, module: nn.Module, macs: Mapping[str, int]) -> int:
    if name not in macs:
        return 0
    prefix = f"{name}." if name else ""
    return max(0, macs[name] - sum(macs.get(prefix + child, 0) for child, _ in module.named_children()))


def _own_params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _shape(module: nn.Module) -> tuple[int, ...]:
    owned = dict(module.named_parameters(recurse=False))
    first = owned.get("weight", next(iter(owned.values()), None))
    return () if first is None else tuple(first.shape)


def _sparsity(module: nn.Module) -> float:
    zeros = sum(int((parameter == 0).sum()) for parameter in module.parameters(recurse=False))
    return zeros / max(1, _own_params(module))

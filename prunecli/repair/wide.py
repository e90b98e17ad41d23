"""An operation too wide to solve as a whole, solved by mixing channels."""

from __future__ import annotations

import torch
from torch import Tensor

from prunecli.repair import mixing
from prunecli.repair.moments import Moments
from prunecli.repair.ridge import fit
from prunecli.repair.site import NO_BETTER, Pair, Site, as_rows, computed
from prunecli.report.figures import OperationRow

MIXING = "channel mixing"


def solve(site: Site, inside: Tensor | None) -> OperationRow:
    """``inside``: the inputs of the dense operation that stay, None where they are not followed."""
    columns = site.operation.columns
    there, here, _ = site.pairs[0].calls
    if here.geometry.groups != 1:
        return site.left(f"{columns} inputs a group are too many for one solution")
    plan = None if inside is None else mixing.plan(there, here, inside.to(site.kept.device))
    if plan is None:
        return site.left(f"{columns} inputs are too many for one solution")
    most = max(1, site.rows_per_column * plan.dense // len(site.pairs))

    def moments(numbered: tuple[int, Pair]) -> tuple[bool, Moments]:
        number, pair = numbered
        first, second, _ = pair.calls
        return pair.held, plan.moments(first.x, second.x, most, site.seed_of(number))

    train, held = site.summed(moments)
    found = fit(train, held, plan.start, torch.zeros_like(train.y), site.operation.constant is not None)
    if found is None:
        return site.left(NO_BETTER)
    weight, shift = plan.mixed(there.weight, site.kept, found)
    before = _held_error(site)
    saved = here.weight.clone()
    here.weight.copy_(weight.to(saved.dtype))
    site.shift(shift)
    after = _held_error(site)
    if after >= before:
        here.weight.copy_(saved)
        site.shift(-shift)
        return site.left(NO_BETTER)
    return OperationRow(site.name, MIXING, None, found.ridge, before, after)


def _held_error(site: Site) -> float:
    """Squared error of the outputs of held-out chunks, as a share of their variance."""

    def sums(pair: Pair) -> tuple[float, float]:
        there, here, y = pair.calls
        shaped = y.reshape(-1, y.shape[-1]) if there.kind == "product" else y
        wanted = as_rows(shaped, there.kind)[:, site.kept].double()
        found = as_rows(computed(here), there.kind)
        return float((wanted - found).square().sum()), float((wanted - wanted.mean(0)).square().sum())

    found = list(site.chunks.each(sums, [pair for pair in site.pairs if pair.held]))
    return sum(error for error, _ in found) / max(sum(spread for _, spread in found), 1e-300)

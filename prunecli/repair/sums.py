"""An operation solved where what it makes is added to a stream: for what the sum lacks, in its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from prunecli.repair import rows
from prunecli.repair.moments import Moments
from prunecli.repair.ridge import Fit, fit
from prunecli.repair.site import EXACT, IS_EXACT, NO_BETTER, Pair, Site, as_rows, bias_of, computed
from prunecli.report.figures import OperationRow
from prunecli.running.calls import Call

SILENT = 1e-4
"""What a channel is multiplied by, relative to the loudest: below it its weights are left alone."""

OF_SUM = "least squares of the sum"


def solve(site: Site, calls: Sequence[Call]) -> OperationRow:
    """``site`` is the sum, ``calls`` are those of the operation in the pruned network, one for each chunk.
    The sums that wait there are corrected.
    """
    wanted, found = _sums(site.pairs[0], site.kept)
    if bool((wanted - found).norm() <= EXACT * wanted.norm()):
        return site.left(IS_EXACT)
    here = calls[0]
    groups = here.geometry.groups
    plain = rows.as_matrix(here.kind, here.weight, groups).double()
    scale = site.pairs[0].calls[1].weight.double().reshape(groups, -1, 1)
    weight, bias = plain * scale, bias_of(here, plain) * scale[..., 0]

    def moments(numbered: tuple[int, Pair]) -> tuple[bool, Moments]:
        number, pair = numbered
        wanted, found = _sums(pair, site.kept)
        call = calls[number]
        positions = rows.picked(call, tuple(found.shape), site.most_rows, site.seed_of(number))
        u = rows.inputs(call, positions).double()
        missing = (wanted - found)[slice(None) if positions is None else positions]
        missing = missing.double().reshape(u.shape[1], groups, -1).transpose(0, 1)
        return pair.held, Moments.of(u, missing + u @ weight.mT + bias[:, None])

    solved = fit(*site.summed(moments), weight, bias, site.operation.constant is not None)
    if solved is None:
        return site.left(NO_BETTER)
    before, shift = here.weight.clone(), _put(site, here, scale, plain, solved, bias)
    change = replace(here, weight=here.weight - before, bias=None)

    def correct(numbered: tuple[int, Pair]) -> None:
        number, pair = numbered
        _, here, _ = pair.calls
        added = as_rows(computed(replace(change, x=calls[number].x)), change.kind) + shift
        here.x.add_((added * here.weight).reshape(here.x.shape))

    list(site.chunks.each(correct, site.numbered))
    return site.told(OF_SUM, solved)


def _sums(pair: Pair, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The sum in the dense network (what stays of it) and in the pruned one, ``[rows, C]``."""
    there, here, _ = pair.calls
    return there.x.reshape(-1, there.x.shape[-1])[:, kept], here.x.reshape(-1, here.x.shape[-1])


def _put(site: Site, here: Call, scale: Tensor, plain: Tensor, solved: Fit, bias: Tensor) -> Tensor:
    """Write the solution down; returns what it adds to every output. Channels that are (nearly) multiplied by
    zero before they are added stay as they were.
    """
    alive = scale.abs() > SILENT * scale.abs().max()
    safe = torch.where(alive, scale, torch.ones_like(scale))
    matrix = torch.where(alive, solved.weight / safe, plain)
    shift = torch.where(alive[..., 0], (solved.bias - bias) / safe[..., 0], torch.zeros_like(bias))
    here.weight.copy_(rows.from_matrix(here.kind, matrix, here.weight, here.geometry.groups))
    site.shift(shift.flatten())
    return shift.flatten().to(here.weight.dtype)

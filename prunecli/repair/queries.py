"""The queries of one projection, solved at the logits, written into its weights and into what it has made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunecli.repair import logits, rows
from prunecli.repair.logits import Grams, Match, Mix
from prunecli.repair.operations import Operation
from prunecli.report.figures import OperationRow
from prunecli.running.calls import Call
from prunecli.running.chunks import Chunks

OF_LOGITS, AND_OF_LOGITS = "least squares of the logits", " and of the logits"


@dataclass(frozen=True)
class Maker:
    """A projection of the pruned network that makes queries: its outputs that stay, its weight as it is
    multiplied by, and the number of its row among those that are done.
    """

    operation: Operation
    kept: Tensor
    weight: Tensor
    row: int

    def mix(self, tensors: Mapping[str, Tensor], channels: Tensor, mixes: Sequence[Tensor | None]) -> None:
        """Put ``mixes`` of ``channels [heads, d']`` into the weight and into the constant, in ``tensors``."""
        kind, place = self.operation.kind, self.operation.constant
        matrix = rows.as_matrix(kind, self.weight, 1)[0].double()
        mixed = logits.folded(matrix, channels, mixes)
        self.weight.copy_(rows.from_matrix(kind, mixed[None], self.weight, 1))
        if place is not None:
            constant = tensors[place.name].detach().view(-1)[place.start : place.stop]
            constant.copy_(logits.folded(constant.double(), channels, mixes))


@dataclass(frozen=True)
class Met:
    """The logits of one chunk in both networks, before they are computed."""

    there: Call
    here: Call
    held: bool
    seed: int

    def match(self, kept: Tensor) -> Match | None:
        there, here = self.there, self.here
        if there.heads is None or here.heads is None or there.name != here.name:
            return None
        if there.x.shape[-2] != here.x.shape[-2] or there.weight.shape[-2] != here.weight.shape[-2]:
            return None
        return logits.matched(there.heads, here.heads, kept)


def repair(
    maker: Maker, met: Sequence[Met], chunks: Chunks, tensors: Mapping[str, Tensor], row: OperationRow
) -> OperationRow:
    """``tensors``: those of the pruned network. Returns ``row``, that of the projection, as it is now."""
    found = [match for chunk in met if (match := chunk.match(maker.kept)) is not None]
    if len(found) < len(met) or any(not torch.equal(m.channels, found[0].channels) for m in found):
        return row
    channels = found[0].channels
    numbered = list(zip(met, found, strict=True))
    most = max(1, logits.MOST_BLOCKS // len(met))

    def grams(one: tuple[Met, Match]) -> tuple[bool, Grams]:
        chunk, match = one
        return chunk.held, Grams.of(chunk.there, chunk.here, match, most, chunk.seed)

    train, held = logits.summed(list(chunks.each(grams, numbered)))

    def mixed(head: int) -> Mix:
        return logits.mixed(train.head(head), held.head(head))

    solved = list(chunks.each(mixed, range(len(channels))))
    mixes = [mix.matrix for mix in solved]
    if all(mix is None for mix in mixes):
        return row
    maker.mix(tensors, channels, mixes)

    def correct(one: tuple[Met, Match]) -> None:
        logits.correct(one[0].here, one[1], mixes)

    list(chunks.each(correct, numbered))
    return _told(row, channels.numel() == maker.operation.outputs, solved)


def _told(row: OperationRow, alone: bool, solved: Sequence[Mix]) -> OperationRow:
    """The row of a projection of queries ``alone`` is about the logits from now on."""
    if not alone:
        return replace(row, method=row.method + AND_OF_LOGITS if row.method else OF_LOGITS, reason=None)
    vary = max(sum(mix.vary for mix in solved), 1e-300)
    before, after = sum(mix.before for mix in solved), sum(mix.after for mix in solved)
    return OperationRow(row.weight, OF_LOGITS, None, None, before / vary, after / vary)

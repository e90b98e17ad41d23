"""Closed-form repair: one sweep through the dense and the pruned network, operation by operation.

All chunks of samples wait at an operation, in both networks, while its sums are added up and solved; then
they go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, working_copy
from prunecli.coupling.space import Space
from prunecli.inputs import Inputs
from prunecli.repair import queries, shared, sums, wide
from prunecli.repair.lockstep import Forward
from prunecli.repair.operations import Operation
from prunecli.repair.places import Keep, kept_inputs, kept_outputs
from prunecli.repair.queries import Maker, Met
from prunecli.repair.shared import Uses
from prunecli.repair.site import IS_EXACT, Pair, Site, positions_of
from prunecli.report.figures import OperationRow
from prunecli.running.chunks import Chunks


@dataclass
class Sweep:
    """``pruned`` is changed in place. ``most_columns``: the widest operation that is solved as a whole.
    Operations that the survey found to end in a sum with a stream are solved there: for what is missing in
    the sum. Those that make queries are solved as all others are, and their queries once more at the logits.
    A weight that is used several times is solved at the last use, for all of them; ``solved``: rows of such
    ones that stay as they are (see :func:`swept`).
    """

    dense: nn.Module
    pruned: nn.Module
    space: Space
    keep: Keep
    operations: Sequence[Operation]
    chunks: Chunks
    most_columns: int = 2304
    rows_per_column: int = 24
    seed: int = 0
    progress: Callable[[int], None] = lambda index: None
    solved: Mapping[tuple[str, int], OperationRow] = field(default_factory=dict)
    done: list[OperationRow] = field(default_factory=list, init=False)
    _outputs: dict[int, Tensor] = field(default_factory=dict, init=False)
    """Kept outputs of the operations that wait for their sum."""
    _makers: dict[int, Maker] = field(default_factory=dict, init=False)
    _shared: dict[tuple[str, int], Uses] = field(default_factory=dict, init=False)
    """Of weights that are used several times, what has been found so far."""

    def run(self, samples: Sequence[Inputs], held: Sequence[bool]) -> list[OperationRow]:
        """Repair on ``samples`` (chunks), of which ``held`` choose the strength of the ridge."""
        with torch.no_grad(), self._pairs(samples, held) as pairs:
            for operation in self.operations:
                alive = list(self.chunks.each(partial(Pair.advance, kind=operation.kind), pairs))
                if not all(alive):
                    break
                self.progress(operation.index)
                row = self._at(operation, pairs)
                if row is not None:
                    self.done.append(row)
        return self.done

    def _at(self, operation: Operation, pairs: list[Pair]) -> OperationRow | None:
        """None for a norm, for what waits for its sum or for its last use, and for logits, whose queries have
        a row already.
        """
        if operation.kind == "norm":
            return None
        if operation.kind == "logits":
            self._at_logits(operation, pairs)
            return None
        if operation.kind == "sum":
            return self._at_sum(operation, pairs) if operation.ordinal in self._outputs else None
        kept = self._kept(operation, pairs[0])
        if operation.uses > 1:
            return self._at_use(operation, pairs, kept)
        if isinstance(kept, str):
            return OperationRow(operation.name or f"operation {operation.index}", "", kept)
        if operation.summed and operation.columns <= self.most_columns:
            self._outputs[operation.ordinal] = kept
            for pair in pairs:
                pair.waiting[operation.ordinal] = pair.calls[1]
            return None
        if operation.ordinal in self._asking:
            maker = Maker(operation, kept, pairs[0].calls[1].weight, len(self.done))
            self._makers[operation.ordinal] = maker
        return self._solve(self._site(operation, pairs, kept))

    @property
    def solved_uses(self) -> dict[tuple[str, int], OperationRow]:
        """What has come of the weights that are used several times."""
        return {weight: uses.row for weight, uses in self._shared.items() if uses.row is not None}

    @property
    def _asking(self) -> frozenset[int]:
        """Ordinals of the operations that make queries."""
        return frozenset(op.ordinal for op in self.operations if op.kind == "logits")

    @contextmanager
    def _pairs(self, samples: Sequence[Inputs], held: Sequence[bool]) -> Iterator[list[Pair]]:
        summed = frozenset(op.ordinal for op in self.operations if op.kind == "sum")
        asking = self._asking
        pairs = [
            Pair(
                Forward(self.dense, chunk, early=False, summed=summed, queries=asking),
                Forward(self.pruned, chunk, early=True, summed=summed, queries=asking),
                out,
            )
            for chunk, out in zip(samples, held, strict=True)
        ]
        try:
            yield pairs
        finally:
            for pair in pairs:
                pair.dense.close()
                pair.pruned.close()

    def _kept(self, operation: Operation, pair: Pair) -> Tensor | str:
        """The outputs of the dense operation that stay, or why nothing can be done."""
        there, here, _ = pair.calls
        if operation.reason is not None:
            return operation.reason
        if (there.kind, there.name) != (here.kind, here.name):
            return "the dense network computes something else there"
        parameter = all_tensors(self.dense)[operation.name]
        kept = kept_outputs(there, parameter, self.space, self.keep)
        if kept is None or len(kept) != operation.outputs:
            return "its weight is a view that is not followed"
        if positions_of(there) != positions_of(here):
            return "it is computed for each of some units, of which some were cut"
        return kept.to(here.x.device)

    def _site(self, operation: Operation, pairs: Sequence[Pair], kept: Tensor) -> Site:
        return Site(
            operation, pairs, kept, all_tensors(self.pruned), self.chunks, self.rows_per_column, self.seed
        )

    def _solve(self, site: Site) -> OperationRow:
        if site.is_exact():
            return site.left(IS_EXACT)
        if site.operation.columns <= self.most_columns:
            return site.solve(site.sums())
        there = site.pairs[0].calls[0]
        parameter = all_tensors(self.dense)[site.name]
        return wide.solve(site, kept_inputs(there, parameter, self.space, self.keep))

    def _at_use(self, operation: Operation, pairs: list[Pair], kept: Tensor | str) -> OperationRow | None:
        uses = self._shared.setdefault(operation.weight, Uses())
        if operation.weight in self.solved:
            uses.count += 1
            return self.solved[operation.weight] if uses.count == operation.uses else None
        if isinstance(kept, str):
            uses.refuse(kept)
        elif operation.columns > self.most_columns:
            uses.refuse(f"{operation.columns} inputs are too many for one solution of {operation.uses} uses")
        else:
            uses.add(self._site(operation, pairs, kept))
        if uses.count < operation.uses:
            return None
        uses.row = uses.solve(operation)
        return uses.row

    def _at_sum(self, operation: Operation, pairs: list[Pair]) -> OperationRow:
        kept = self._outputs.pop(operation.ordinal)
        calls = [pair.waiting.pop(operation.ordinal) for pair in pairs]
        return sums.solve(self._site(operation, pairs, kept), calls)

    def _at_logits(self, operation: Operation, pairs: list[Pair]) -> None:
        maker = self._makers.pop(operation.ordinal, None)
        if maker is None:
            return
        seed_of = self._site(operation, pairs, maker.kept).seed_of
        met = [Met(*pair.calls[:2], pair.held, seed_of(number)) for number, pair in enumerate(pairs)]
        row = self.done[maker.row]
        self.done[maker.row] = queries.repair(maker, met, self.chunks, all_tensors(self.pruned), row)


def swept(first: Sweep, samples: Sequence[Inputs], held: Sequence[bool]) -> Sweep:
    """``first`` after its run; or another, where weights were solved at the last of several uses: what lies
    between has seen their old values, so it is solved anew from the cut, with those weights as they are now.
    """
    cut = working_copy(first.pruned) if any(op.uses > 1 for op in first.operations) else first.pruned
    first.run(samples, held)
    if not any(row.method for row in first.solved_uses.values()):
        return first
    shared.put(first.operations, all_tensors(first.pruned), all_tensors(cut))
    begun = len(first.operations)
    second = replace(
        first, pruned=cut, solved=first.solved_uses, progress=lambda index: first.progress(begun + index)
    )
    second.run(samples, held)
    return second

"""Closed-form repair: one sweep through the dense and the pruned network, operation by operation.

For every weighted operation in execution order, new weights W' = argmin sum |Y - W' U|^2 + ridge |W' - W|^2:
``Y`` is the dense network's output of that operation (the rows that stay) and ``U`` the input that the
pruned and already repaired network gives it (He et al. 2017, reconstruction step, on every operation). All
chunks of samples wait at the operation while its sums are added up and solved; then they go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.coupling.space import Space
from prunecli.inputs import Inputs
from prunecli.repair import mixing, queries, rows
from prunecli.repair.lockstep import Forward
from prunecli.repair.moments import Moments
from prunecli.repair.places import Keep, kept_inputs, kept_outputs
from prunecli.repair.queries import Maker, Met
from prunecli.repair.ridge import Fit, fit
from prunecli.repair.survey import Operation
from prunecli.report.figures import OperationRow
from prunecli.running.calls import Call
from prunecli.running.chunks import Chunks

EXACT = 1e-6
"""Relative error of an operation below which there is nothing to repair."""
SILENT = 1e-4
"""What a channel is multiplied by, relative to the loudest: below it its weights are left alone."""

LEAST_SQUARES, MIXING, OF_SUM = "least squares", "channel mixing", "least squares of the sum"


@dataclass
class _Pair:
    """One chunk in both networks. ``waiting``: calls of the pruned one that are solved at a sum, by
    ordinal. ``ahead``: it has not come to logits that one sample came to, but to what is next.
    """

    dense: Forward
    pruned: Forward
    held: bool
    at: tuple[Call, Call, Tensor] | None = None
    waiting: dict[int, Call] = field(default_factory=dict)
    ahead: bool = False

    def advance(self, kind: str) -> bool:
        """To the next operation, which should be of ``kind``."""
        if self.ahead and self.at is not None:
            self.ahead = kind == "logits"
            return True
        self.at = None
        there, here = self.dense.advance(), self.pruned.advance()
        if there is None or here is None:
            return False
        self.at = (there[0], here[0], there[1])  # type: ignore[assignment]
        self.ahead = kind == "logits" != here[0].kind
        return True

    @property
    def calls(self) -> tuple[Call, Call, Tensor]:
        """The operation in the dense and in the pruned network, and its output in the dense one."""
        if self.at is None:
            raise RuntimeError("the two networks do not come to the same operations")
        return self.at


@dataclass
class Sweep:
    """``pruned`` is changed in place. ``most_columns``: the widest operation that is solved as a whole;
    ``most_rows``: rows per chunk at most. Operations that the survey found to end in a sum with a stream are
    solved there: for what is missing in the sum. Those that make queries are solved as all others are, and
    their queries once more at the logits.
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
    done: list[OperationRow] = field(default_factory=list)
    _outputs: dict[int, Tensor] = field(default_factory=dict)
    """Kept outputs of the operations that wait for their sum."""
    _makers: dict[int, Maker] = field(default_factory=dict)

    def run(self, samples: Sequence[Inputs], held: Sequence[bool]) -> list[OperationRow]:
        """Repair on ``samples`` (chunks), of which ``held`` choose the strength of the ridge."""
        with torch.no_grad(), self._pairs(samples, held) as pairs:
            for operation in self.operations:
                alive = list(self.chunks.each(partial(_Pair.advance, kind=operation.kind), pairs))
                if not all(alive):
                    break
                self.progress(operation.index)
                row = self._at(operation, pairs)
                if row is not None:
                    self.done.append(row)
        return self.done

    def _at(self, operation: Operation, pairs: list[_Pair]) -> OperationRow | None:
        """None for a norm, for what waits for its sum, and for logits, whose queries have a row already."""
        if operation.kind == "norm":
            return None
        if operation.kind == "logits":
            self._repair_logits(operation, pairs)
            return None
        if operation.kind == "sum":
            return self._repair_at_sum(operation, pairs) if operation.ordinal in self._outputs else None
        kept = self._kept(operation, pairs[0])
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
        return self._repair(operation, pairs, kept)

    @property
    def _asking(self) -> frozenset[int]:
        """Ordinals of the operations that make queries."""
        return frozenset(op.ordinal for op in self.operations if op.kind == "logits")

    @contextmanager
    def _pairs(self, samples: Sequence[Inputs], held: Sequence[bool]) -> Iterator[list[_Pair]]:
        summed = frozenset(op.ordinal for op in self.operations if op.kind == "sum")
        asking = self._asking
        pairs = [
            _Pair(
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

    def _kept(self, operation: Operation, pair: _Pair) -> Tensor | str:
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
        if _positions(there) != _positions(here):
            return "it is computed for each of some units, of which some were cut"
        return kept.to(here.x.device)

    def _repair(self, operation: Operation, pairs: list[_Pair], kept: Tensor) -> OperationRow:
        if self._is_exact(pairs[0], kept):
            return OperationRow(operation.name, "", "its output is that of the dense network already")
        if operation.columns > self.most_columns:
            return self._mix(operation, pairs, kept, operation.name)
        return self._solve(operation, pairs, kept, operation.name)

    def _repair_at_sum(self, operation: Operation, pairs: list[_Pair]) -> OperationRow:
        """Solve the operation that was added for the dense network's sum less the pruned stream, in units of
        the sum.
        """
        kept = self._outputs.pop(operation.ordinal)
        name, most = operation.name, self._most_rows(operation, len(pairs))
        calls = [pair.waiting.pop(operation.ordinal) for pair in pairs]
        wanted, found = _sums(pairs[0], kept)
        if bool((wanted - found).norm() <= EXACT * wanted.norm()):
            return OperationRow(name, "", "its output is that of the dense network already")
        here = calls[0]
        groups = here.geometry.groups
        plain = rows.as_matrix(here.kind, here.weight, groups).double()
        scale = pairs[0].calls[1].weight.double().reshape(groups, -1, 1)
        weight, bias = plain * scale, _bias(here, plain) * scale[..., 0]

        def moments(numbered: tuple[int, _Pair]) -> tuple[bool, Moments]:
            number, pair = numbered
            wanted, found = _sums(pair, kept)
            call = calls[number]
            positions = rows.picked(call, _shape(call, found), most, self._seed(operation, number))
            u = rows.inputs(call, positions).double()
            missing = (wanted - found)[slice(None) if positions is None else positions]
            missing = missing.double().reshape(u.shape[1], groups, -1).transpose(0, 1)
            return pair.held, Moments.of(u, missing + u @ weight.mT + bias[:, None])

        train, held = _summed(self.chunks.each(moments, list(enumerate(pairs))))
        solved = fit(train, held, weight, bias, operation.constant is not None)
        if solved is None:
            return OperationRow(name, "", "no change is better on held-out samples")
        before, shift = here.weight.clone(), self._put(operation, here, scale, plain, solved, bias)
        change = replace(here, weight=here.weight - before, bias=None)

        def correct(numbered: tuple[int, _Pair]) -> None:
            number, pair = numbered
            _, here, _ = pair.calls
            added = _as_rows(computed(replace(change, x=calls[number].x)), change.kind) + shift
            here.x.add_((added * here.weight).reshape(here.x.shape))

        list(self.chunks.each(correct, list(enumerate(pairs))))
        return _told(name, OF_SUM, solved)

    def _repair_logits(self, operation: Operation, pairs: list[_Pair]) -> None:
        maker = self._makers.pop(operation.ordinal, None)
        if maker is None:
            return
        met = [
            Met(*pair.calls[:2], pair.held, self._seed(operation, number))
            for number, pair in enumerate(pairs)
        ]
        row = self.done[maker.row]
        self.done[maker.row] = queries.repair(maker, met, self.chunks, all_tensors(self.pruned), row)

    def _put(
        self, operation: Operation, here: Call, scale: Tensor, plain: Tensor, solved: Fit, bias: Tensor
    ) -> Tensor:
        """Write the solution down; returns what it adds to every output. Channels that are (nearly)
        multiplied by zero before they are added stay as they were.
        """
        alive = scale.abs() > SILENT * scale.abs().max()
        safe = torch.where(alive, scale, torch.ones_like(scale))
        matrix = torch.where(alive, solved.weight / safe, plain)
        shift = torch.where(alive[..., 0], (solved.bias - bias) / safe[..., 0], torch.zeros_like(bias))
        here.weight.copy_(rows.from_matrix(here.kind, matrix, here.weight, here.geometry.groups))
        self._shift(operation, shift.flatten())
        return shift.flatten().to(here.weight.dtype)

    def _is_exact(self, pair: _Pair, kept: Tensor) -> bool:
        there, here, y = pair.calls
        wanted = y.reshape(-1, y.shape[-1])[:, kept] if there.kind == "product" else y[:, kept]
        found = computed(here)
        return bool((wanted - found).norm() <= EXACT * wanted.norm())

    def _solve(self, operation: Operation, pairs: list[_Pair], kept: Tensor, name: str) -> OperationRow:
        most = self._most_rows(operation, len(pairs))

        def moments(numbered: tuple[int, _Pair]) -> tuple[bool, Moments]:
            number, pair = numbered
            _, here, y = pair.calls
            positions = rows.picked(here, tuple(y.shape), most, self._seed(operation, number))
            u = rows.inputs(here, positions)
            return pair.held, Moments.of(u, rows.outputs(here, y, positions, kept, u.shape[0]))

        train, held = _summed(self.chunks.each(moments, list(enumerate(pairs))))
        here = pairs[0].calls[1]
        groups = here.geometry.groups
        weight = rows.as_matrix(here.kind, here.weight, groups).double()
        bias = _bias(here, weight)
        found = fit(train, held, weight, bias, operation.constant is not None)
        if found is None:
            return OperationRow(name, "", "no change is better on held-out samples")
        here.weight.copy_(rows.from_matrix(here.kind, found.weight, here.weight, groups))
        self._shift(operation, (found.bias - bias).flatten())
        return _told(name, LEAST_SQUARES, found)

    def _mix(self, operation: Operation, pairs: list[_Pair], kept: Tensor, name: str) -> OperationRow:
        there, here, _ = pairs[0].calls
        if here.geometry.groups != 1:
            return OperationRow(name, "", f"{operation.columns} inputs a group are too many for one solution")
        inside = kept_inputs(there, all_tensors(self.dense)[operation.name], self.space, self.keep)
        plan = None if inside is None else mixing.plan(there, here, inside.to(kept.device))
        if plan is None:
            return OperationRow(name, "", f"{operation.columns} inputs are too many for one solution")
        most = max(1, self.rows_per_column * plan.dense // len(pairs))

        def moments(numbered: tuple[int, _Pair]) -> tuple[bool, Moments]:
            number, pair = numbered
            first, second, _ = pair.calls
            return pair.held, plan.moments(first.x, second.x, most, self._seed(operation, number))

        train, held = _summed(self.chunks.each(moments, list(enumerate(pairs))))
        found = fit(train, held, plan.start, torch.zeros_like(train.y), operation.constant is not None)
        if found is None:
            return OperationRow(name, "", "no change is better on held-out samples")
        weight, shift = plan.mixed(there.weight, kept, found)
        before = self._held_error(pairs, kept)
        saved = here.weight.clone()
        here.weight.copy_(weight.to(saved.dtype))
        self._shift(operation, shift)
        after = self._held_error(pairs, kept)
        if after >= before:
            here.weight.copy_(saved)
            self._shift(operation, -shift)
            return OperationRow(name, "", "no change is better on held-out samples")
        return OperationRow(name, MIXING, None, found.ridge, before, after)

    def _held_error(self, pairs: list[_Pair], kept: Tensor) -> float:
        """Squared error of the outputs of held-out chunks, as a share of their variance."""

        def sums(pair: _Pair) -> tuple[float, float]:
            there, here, y = pair.calls
            shaped = y.reshape(-1, y.shape[-1]) if there.kind == "product" else y
            wanted = _as_rows(shaped, there.kind)[:, kept].double()
            found = _as_rows(computed(here), there.kind)
            return float((wanted - found).square().sum()), float((wanted - wanted.mean(0)).square().sum())

        found = list(self.chunks.each(sums, [pair for pair in pairs if pair.held]))
        return sum(error for error, _ in found) / max(sum(spread for _, spread in found), 1e-300)

    def _shift(self, operation: Operation, change: Tensor) -> None:
        """Add ``change`` to the output of ``operation``, where a constant can go."""
        if operation.constant is not None:
            place = operation.constant
            flat = all_tensors(self.pruned)[place.name].detach().view(-1)
            flat[place.start : place.stop] += place.sign * change.to(flat.dtype)

    def _most_rows(self, operation: Operation, chunks: int) -> int:
        return max(1, max(self.rows_per_column * operation.columns, 32768) // chunks)

    def _seed(self, operation: Operation, chunk: int) -> int:
        return (self.seed * 1_000_003 + operation.index) * 1_009 + chunk


def _sums(pair: _Pair, kept: Tensor) -> tuple[Tensor, Tensor]:
    """The sum in the dense network (what stays of it) and in the pruned one, ``[rows, C]``."""
    there, here, _ = pair.calls
    return there.x.reshape(-1, there.x.shape[-1])[:, kept], here.x.reshape(-1, here.x.shape[-1])


def _shape(call: Call, rows: Tensor) -> tuple[int, ...]:
    """Of the output of ``call``, which gives as many rows; only their number matters."""
    return (rows.shape[0], rows.shape[1])


def _positions(call: Call) -> tuple[int, ...]:
    """Samples and places in them, for each of which the operation is computed."""
    return tuple(call.x.shape[:1] + call.x.shape[2:])


def _as_rows(out: Tensor, kind: str) -> Tensor:
    return out if kind == "product" else out.movedim(1, -1).flatten(0, -2)


def computed(call: Call) -> Tensor:
    """The output of ``call`` with the weights as they are now."""
    if call.kind == "product":
        plain = call.x @ call.weight
        return plain if call.bias is None else plain + call.bias
    geometry = call.geometry
    return torch.convolution(
        call.x, call.weight, call.bias, geometry.stride, geometry.padding, geometry.dilation,
        call.kind == "transposed", geometry.output_padding, geometry.groups,
    )  # fmt: skip


def _bias(call: Call, matrix: Tensor) -> Tensor:
    """``[G, O/G]``, zeros where the operation adds none."""
    if call.bias is None:
        return torch.zeros_like(matrix[..., 0])
    return call.bias.double().reshape(matrix.shape[:2])


def _summed(parts: Iterator[tuple[bool, Moments]]) -> tuple[Moments, Moments]:
    """The moments of the chunks that are not held out, and of those that are."""
    sums: dict[bool, Moments] = {}
    for held, part in parts:
        sums[held] = sums[held] + part if held in sums else part
    return sums[False], sums[True]


def _told(name: str, method: str, found: Fit) -> OperationRow:
    return OperationRow(name, method, None, found.ridge, found.before, found.after)

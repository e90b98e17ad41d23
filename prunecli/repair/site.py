"""One operation at which all chunks of samples wait, in both networks, and its solution.

New weights W' = argmin sum |Y - W' U|^2 + ridge |W' - W|^2: ``Y`` is the dense network's output of that
operation (the rows that stay) and ``U`` the input that the pruned and already repaired network gives it
(He et al. 2017, reconstruction step, on every operation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from prunecli.repair import rows
from prunecli.repair.lockstep import Forward
from prunecli.repair.moments import Moments
from prunecli.repair.operations import Operation
from prunecli.repair.ridge import Fit, fit
from prunecli.report.figures import OperationRow
from prunecli.running.calls import Call
from prunecli.running.chunks import Chunks

EXACT = 1e-6
"""Relative error of an operation below which there is nothing to repair."""

LEAST_SQUARES = "least squares"
IS_EXACT = "its output is that of the dense network already"
NO_BETTER = "no change is better on held-out samples"


@dataclass
class Pair:
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


Sums = tuple[Moments, Moments]
"""Of the chunks that are not held out, and of those that are."""


@dataclass(frozen=True)
class Site:
    """``kept``: the outputs of the dense operation that stay (int64). ``tensors``: those of the pruned
    network, which are changed in place. ``rows_per_column``: how many rows are looked at, at most.
    """

    operation: Operation
    pairs: Sequence[Pair]
    kept: Tensor
    tensors: Mapping[str, Tensor]
    chunks: Chunks
    rows_per_column: int = 24
    seed: int = 0

    @property
    def name(self) -> str:
        return self.operation.name

    @property
    def numbered(self) -> list[tuple[int, Pair]]:
        return list(enumerate(self.pairs))

    @property
    def most_rows(self) -> int:
        """Of each chunk."""
        return max(1, max(self.rows_per_column * self.operation.columns, 32768) // len(self.pairs))

    def seed_of(self, chunk: int) -> int:
        return (self.seed * 1_000_003 + self.operation.index) * 1_009 + chunk

    def left(self, reason: str) -> OperationRow:
        return OperationRow(self.name, "", reason)

    def told(self, method: str, found: Fit) -> OperationRow:
        return OperationRow(self.name, method, None, found.ridge, found.before, found.after)

    def is_exact(self) -> bool:
        there, here, y = self.pairs[0].calls
        wanted = y.reshape(-1, y.shape[-1])[:, self.kept] if there.kind == "product" else y[:, self.kept]
        found = computed(here)
        return bool((wanted - found).norm() <= EXACT * wanted.norm())

    def sums(self) -> Sums:
        """Over the rows of all chunks."""

        def moments(numbered: tuple[int, Pair]) -> tuple[bool, Moments]:
            number, pair = numbered
            _, here, y = pair.calls
            positions = rows.picked(here, tuple(y.shape), self.most_rows, self.seed_of(number))
            u = rows.inputs(here, positions)
            return pair.held, Moments.of(u, rows.outputs(here, y, positions, self.kept, u.shape[0]))

        return self.summed(moments)

    def summed(self, moments: Callable[[tuple[int, Pair]], tuple[bool, Moments]]) -> Sums:
        return _summed(self.chunks.each(moments, self.numbered))

    def solve(self, sums: Sums) -> OperationRow:
        """Write down the weights that fit ``sums`` best."""
        here = self.pairs[0].calls[1]
        groups = here.geometry.groups
        weight = rows.as_matrix(here.kind, here.weight, groups).double()
        bias = bias_of(here, weight)
        found = fit(*sums, weight, bias, self.operation.constant is not None)
        if found is None:
            return self.left(NO_BETTER)
        here.weight.copy_(rows.from_matrix(here.kind, found.weight, here.weight, groups))
        self.shift((found.bias - bias).flatten())
        return self.told(LEAST_SQUARES, found)

    def shift(self, change: Tensor) -> None:
        """Add ``change`` to the output of the operation, where a constant can go."""
        place = self.operation.constant
        if place is not None:
            flat = self.tensors[place.name].detach().view(-1)
            flat[place.start : place.stop] += place.sign * change.to(flat.dtype)


def positions_of(call: Call) -> tuple[int, ...]:
    """Samples and places in them, for each of which the operation is computed."""
    return tuple(call.x.shape[:1] + call.x.shape[2:])


def as_rows(out: Tensor, kind: str) -> Tensor:
    """An output as ``[rows, C]``."""
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


def bias_of(call: Call, matrix: Tensor) -> Tensor:
    """``[G, O/G]``, zeros where the operation adds none."""
    if call.bias is None:
        return torch.zeros_like(matrix[..., 0])
    return call.bias.double().reshape(matrix.shape[:2])


def _summed(parts: Iterator[tuple[bool, Moments]]) -> Sums:
    sums: dict[bool, Moments] = {}
    for held, part in parts:
        sums[held] = sums[held] + part if held in sums else part
    return sums[False], sums[True]

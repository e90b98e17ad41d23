"""What weighted operations are given: sums over samples and positions, ranks of maps, and Gram matrices of
what units contribute to the outputs.

Letters in shapes: ``n`` units of a group, ``m`` indices that one of them owns, times kernel positions.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prunecli.criteria.evidence import IndexInputs
from prunecli.criteria.passes import MOST, Chunk, Passes
from prunecli.criteria.patches import rows, weights
from prunecli.criteria.ranks import ranks
from prunecli.criteria.views import GroupView, SlotView
from prunecli.running.calls import Call, Parameters, recognise, rows_of

POSITIONS = 16
"""Output positions of a sample that a Gram matrix sees."""
_WIDEST = 6144
"""Columns up to which contributions are multiplied by way of the inputs' own products."""
_AT_ONCE = 1 << 25  # numbers

Place = tuple[str, int]


@dataclass(frozen=True)
class Rows:
    """What ``call``, an operation with the weight ``parameter`` (its inputs are left out), multiplies by:
    ``found [G, R, I, K]``.
    """

    parameter: str
    call: Call
    found: Tensor

    @property
    def view(self) -> tuple[str, int, tuple[int, ...]]:
        """Which part of the parameter the weight is."""
        return self.parameter, int(self.call.weight.storage_offset()), tuple(self.call.weight.shape)


@dataclass
class Gram:
    """The Gram matrix of one slot of the operation that ``first`` came from: grows by the rows of each
    chunk.
    """

    slot: SlotView
    first: Rows
    total: Tensor | None = None

    @property
    def call(self) -> Call:
        return self.first.call

    @property
    def key(self) -> tuple[str, str, int]:
        return self.slot.group, self.slot.slot.parameter, self.slot.slot.dim

    @property
    def is_wide(self) -> bool:
        return self.columns > _WIDEST

    @property
    def columns(self) -> int:
        return self.slot.indices.numel() * weights(self.call).shape[-1]

    @property
    def bytes(self) -> int:
        return 8 * (self.slot.size**2 if self.is_wide else len(weights(self.call)) * self.columns**2)

    def add(self, found: Tensor) -> None:
        """``found`` (``[G, R, I, K]``)."""
        given = self._of_units(found)
        new = self._contributed(given) if self.is_wide else (given.flatten(2).mT @ given.flatten(2)).double()
        self.total = new if self.total is None else self.total.add_(new)

    def finished(self) -> Tensor:
        """``[n, n]`` on the CPU."""
        if self.total is None:
            raise RuntimeError("no rows were added")
        if self.is_wide:
            return self.total.cpu()
        weight = self._of_units(weights(self.call)).flatten(2).double()
        size = self.slot.size
        blocks = (self.total * (weight.mT @ weight)).sum(0)
        return blocks.reshape(size, -1, size, blocks.shape[1] // size).sum((1, 3)).cpu()

    def _of_units(self, values: Tensor) -> Tensor:
        """``[G, rows, I, K]`` as ``[G, rows, n, m]``."""
        order = self.slot.indices.reshape(-1).to(values.device)
        return values[:, :, order].reshape(*values.shape[:2], self.slot.size, -1)

    def _contributed(self, given: Tensor) -> Tensor:
        """The products of all contributions ``C [R, O, n]``, a few outputs at a time."""
        weight = self._of_units(weights(self.call)).to(given.dtype)
        step = max(1, _AT_ONCE // (given.shape[1] * self.slot.size))
        total = torch.zeros((self.slot.size,) * 2, dtype=torch.float64, device=given.device)
        for start in range(0, weight.shape[1], step):
            made = torch.einsum("grnm,gonm->gron", given, weight[:, start : start + step]).flatten(0, 2)
            total += (made.mT @ made).double()
        return total


@dataclass
class Seen:
    """What one chunk showed, or all of them."""

    inputs: dict[Place, IndexInputs] = field(default_factory=dict)
    ranks: dict[Place, tuple[Tensor, int]] = field(default_factory=dict)
    rows: list[Rows] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """All but the rows, in place."""
        for place, found in other.inputs.items():
            self.inputs[place] = self.inputs[place] + found if place in self.inputs else found
        for place, (total, count) in other.ranks.items():
            before, number = self.ranks.get(place, (torch.zeros_like(total), 0))
            self.ranks[place] = (before + total, number + count)

    @property
    def mean_ranks(self) -> dict[Place, Tensor]:
        return {place: total / count for place, (total, count) in self.ranks.items()}


@dataclass(frozen=True)
class Activations:
    """Passes over what the ``in`` slots of ``views`` are given. ``memory`` in bytes bounds what Gram matrices
    take at once; with less there are more passes.
    """

    passes: Passes
    views: Sequence[GroupView]
    memory: int
    seed: int

    def sums(self, wants: frozenset[str]) -> Seen:
        """``inputs`` and ``ranks``, whichever is in ``wants``."""
        total = Seen()
        for seen in self._each("activations", wants, self._slots):
            total.add(seen)
        return total

    def grams(self) -> dict[tuple[str, str, int], Tensor]:
        """Of every ``in`` slot that is followed, by group, parameter and dimension."""
        (first, *_) = self._each("operations", frozenset({"grams"}), self._slots, one=True)
        found: dict[tuple[str, str, int], Tensor] = {}
        for some in self._shares(self._met(first)):
            for key, gram in self._pass(some).items():
                found[key] = found[key] + gram if key in found else gram
        return found

    @property
    def _slots(self) -> dict[str, list[SlotView]]:
        found: dict[str, list[SlotView]] = {}
        for view in self.views:
            for slot in view.slots:
                if slot.role == "in":
                    found.setdefault(slot.slot.parameter, []).append(slot)
        return found

    def _met(self, first: Seen) -> list[Gram]:
        """One for every slot of every operation; an operation that runs twice counts as one."""
        found: dict[tuple[Any, ...], Gram] = {}
        for some in first.rows:
            for slot in self._slots[some.parameter]:
                gram = Gram(slot, some)
                found.setdefault((some.view, gram.key), gram)
        return list(found.values())

    def _shares(self, grams: Sequence[Gram]) -> Iterator[list[Gram]]:
        held: list[Gram] = []
        for gram in grams:
            if held and sum(other.bytes for other in (*held, gram)) > self.memory:
                yield held
                held = []
            held.append(gram)
        if held:
            yield held

    def _pass(self, grams: Sequence[Gram]) -> dict[tuple[str, str, int], Tensor]:
        wanted: dict[str, list[SlotView]] = {}
        for gram in grams:
            wanted.setdefault(gram.slot.slot.parameter, []).append(gram.slot)
        for seen in self._each("contributions", frozenset({"grams"}), wanted):
            for _ in self.passes.chunks.each(partial(_add_rows, seen), grams):
                pass
        total: dict[tuple[str, str, int], Tensor] = {}
        for gram, made in zip(grams, self.passes.chunks.each(Gram.finished, grams), strict=True):
            total[gram.key] = total[gram.key] + made if gram.key in total else made
        return total

    def _each(
        self, what: str, wants: frozenset[str], slots: Mapping[str, Sequence[SlotView]], one: bool = False
    ) -> Iterator[Seen]:
        def watched(chunk: Chunk) -> Seen:
            mode = _Watch(Parameters(self.passes.network), slots, wants, chunk, self.seed)
            network = self.passes.copy()
            with mode:
                chunk.batch.inputs.run(network)
            return mode.seen

        chunks = self.passes.chunked(1 if one else MOST)
        yield from self.passes.each(what, watched, chunks[:1] if one else chunks)


def _add_rows(seen: Seen, gram: Gram) -> None:
    for some in seen.rows:
        if some.view == gram.first.view:
            gram.add(some.found)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(
        self,
        known: Parameters,
        slots: Mapping[str, Sequence[SlotView]],
        wants: frozenset[str],
        chunk: Chunk,
        seed: int,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Seen()
        self._known = known
        self._slots = slots
        self._wants = wants
        self._chunk = chunk
        self._seed = seed
        self._ranked: dict[int, tuple[weakref.ref[Tensor], int, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognise(func, args, kwargs, self._known)
        out = func(*args, **kwargs)
        if call is not None and call.kind != "norm" and call.name is not None and call.name in self._slots:
            dim = _input_dim(call, self._known.tensors[call.name])
            if any(slot.slot.dim == dim for slot in self._slots[call.name]):
                self._look(call, out[0] if isinstance(out, tuple) else out, (call.name, dim or 0))
        return out

    def _look(self, call: Call, out: Tensor, place: Place) -> None:
        if "inputs" in self._wants:
            self.seen.add(Seen({place: _sums(call)}))
        if "ranks" in self._wants and call.kind != "product" and call.x.dim() == 4:
            count = call.x.shape[0] * (call.geometry.groups if call.kind == "convolution" else 1)
            self.seen.add(Seen(ranks={place: (_grouped(call, self._rank(call.x)), count)}))
        if "grams" in self._wants:
            generator = torch.Generator().manual_seed(_mixed(self._seed, self._chunk.index, place[0]))
            most = POSITIONS * (len(self._chunk.batch) if call.kind == "product" else 1)
            found = rows(call, out, most, generator)
            self.seen.rows.append(Rows(place[0], replace(call, x=call.x.new_empty(0)), found))

    def _rank(self, x: Tensor) -> Tensor:
        """Sum of the ranks of each channel's maps; of a tensor that several operations are given, once."""
        reference, version, total = self._ranked.get(id(x), (None, -1, None))
        if reference is None or total is None or reference() is not x or version != x._version:
            total = ranks(x).sum(0).double()
            self._ranked[id(x)] = (weakref.ref(x), x._version, total)
        return total


def _input_dim(call: Call, parameter: Tensor) -> int | None:
    """The dimension of ``parameter`` whose indices are the inputs of ``call`` in order; None where its weight
    is a view that is not followed.
    """
    if call.kind != "product":
        return (0 if call.kind == "transposed" else 1) if call.weight.shape == parameter.shape else None
    found = rows_of(call, parameter)
    if found is None:
        return None
    if found.are_outputs:
        return 1 if parameter.shape[1] == call.weight.shape[0] else None
    return 0 if found.count == parameter.shape[0] else None


def _sums(call: Call) -> IndexInputs:
    x = call.x
    dim = x.dim() - 1 if call.kind == "product" else 1
    others = [other for other in range(x.dim()) if other != dim]
    magnitude = x.abs().sum(others, dtype=torch.float64)
    squares = x.square().sum(others, dtype=torch.float64)
    count = x.numel() // x.shape[dim] * (call.geometry.groups if call.kind == "convolution" else 1)
    return IndexInputs(count, _grouped(call, magnitude).cpu(), _grouped(call, squares).cpu())


def _grouped(call: Call, per_channel: Tensor) -> Tensor:
    """Numbers per channel of ``x``, added up where the groups of a convolution share the weight's index."""
    if call.kind != "convolution":
        return per_channel.cpu()
    return per_channel.reshape(call.geometry.groups, -1).sum(0).cpu()


def _mixed(seed: int, index: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}:{index}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1

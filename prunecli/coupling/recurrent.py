"""Recurrent layers: LSTM, GRU, RNN, and their cells.

A weight is ``[gates x hidden, features]``, gates outermost; a unit that loses all its rows and columns
contributes nothing, so hidden units are pruned like channels. The states of different layers are different
axes of the same size, since the module has one ``hidden_size`` for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.functions import named, register_adapter, unwatched
from prunecli.coupling.nodes import Atom, Node, concat, fixed, normal
from prunecli.coupling.operators import Call, register_operator
from prunecli.coupling.recording import Recording, Rows

_GATES = {
    torch.lstm: 4, torch.gru: 3, torch.rnn_tanh: 1, torch.rnn_relu: 1,
    torch.lstm_cell: 4, torch.gru_cell: 3, torch.rnn_tanh_cell: 1, torch.rnn_relu_cell: 1,
}  # fmt: skip


@dataclass(frozen=True)
class _State:
    """The units of one layer: ``hidden`` ones inside, ``out`` ones of its output (projected or the same)."""

    hidden: Node
    out: Node


@dataclass(frozen=True)
class _Layers:
    """The arguments of ``torch.lstm`` and its like, for padded or packed sequences."""

    x: Tensor
    initial: tuple[Tensor, ...]
    weights: Sequence[Tensor]
    biased: bool
    count: int
    bidirectional: bool
    batch_first: bool
    packed: bool

    @staticmethod
    def of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Layers:
        packed = len(args) > 3 and isinstance(args[3], (tuple, list))
        first = "data batch_sizes hx params" if packed else "input hx params"
        rest = "has_biases num_layers dropout train bidirectional"
        given = named(f"{first} {rest}" + ("" if packed else " batch_first"), args, kwargs)
        initial = given["hx"]
        return _Layers(
            x=given["data" if packed else "input"],
            initial=tuple(initial) if isinstance(initial, (tuple, list)) else (initial,),
            weights=given["params"],
            biased=bool(given["has_biases"]),
            count=int(given["num_layers"]),
            bidirectional=bool(given["bidirectional"]),
            batch_first=bool(given.get("batch_first", False)),
            packed=packed,
        )

    @property
    def directions(self) -> int:
        return 1 + self.bidirectional

    def split_weights(self) -> list[Sequence[Tensor]]:
        """The weights of each layer and direction: rows, recurrent, both biases, projection."""
        step = len(self.weights) // (self.count * self.directions)
        return [self.weights[start : start + step] for start in range(0, len(self.weights), step)]


@register_adapter(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu)
def recurrent(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``x [T, N, features]`` to ``[T, N, directions x hidden]`` and the last state of every layer."""
    given = _Layers.of(args, kwargs)
    uniform = [recording.is_uniform(tensor) for tensor in given.initial]
    out_size = given.weights[1].shape[1]
    states = [(*tensor.shape[:-1], tensor.shape[-1]) for tensor in given.initial]
    shapes = [(*given.x.shape[:-1], out_size * given.directions), *states]
    results = unwatched(recording, func, args, kwargs, shapes)
    axes = recording.axes(given.x)
    positions, source = axes[:-1], axes[-1]
    for node in positions:
        recording.algebra.pin(node, "the steps of a sequence")
    layers: list[_State] = []
    for index in range(0, given.count * given.directions, given.directions):
        found = [
            _layer(recording, _GATES[func], positions, source, weights, given.biased)
            for weights in given.split_weights()[index : index + given.directions]
        ]
        source = concat(state.out for state in found)
        layers += found
    _equally_large(recording, layers)
    rows = ([state.out for state in layers], [state.hidden for state in layers])
    batch = tuple(fixed(size, "samples") for size in given.initial[0].shape[1:-1])
    for tensor, last, same, final in zip(given.initial, rows, uniform, results[1:], strict=False):
        _start(recording, tensor, last, same)
        recording.set_rows(final, Rows(batch, tuple(last)))
    recording.set_axes(results[0], [*(normal(node) for node in positions), source])
    return tuple(results)


def _layer(
    recording: Recording,
    gates: int,
    positions: Sequence[Node],
    source: Node,
    weights: Sequence[Tensor],
    biased: bool,
) -> _State:
    """One layer in one direction. ``weights``: ``[gates x hidden, in]``, ``[gates x hidden, out]``, biases
    ``[gates x hidden]``, and the projection ``[out, hidden]`` of an LSTM that has one.
    """
    algebra = recording.algebra
    rows = [recording.axes(tensor) for tensor in weights]
    projected = len(weights) > (4 if biased else 2)
    hidden = _one_gate(recording, rows[0][0], gates)
    for own in rows[1 : 4 if biased else 2]:
        algebra.unify(hidden, _one_gate(recording, own[0], gates))
    out = hidden
    if projected:
        out = rows[-1][0]
        algebra.unify(rows[-1][1], hidden)
        recording.role(weights[-1], "out", "in")
        recording.cost(1, (*positions, *rows[-1]))
    algebra.unify(rows[0][1], source)
    algebra.unify(rows[1][1], out)
    for tensor, own in zip(weights[:2], rows, strict=False):
        recording.role(tensor, "out", "in")
        recording.cost(1, (*positions, *own))
    for tensor in weights[2 : 4 if biased else 2]:
        recording.role(tensor, "bias")
    return _State(normal(hidden), normal(out))


def _one_gate(recording: Recording, rows: Node, gates: int) -> Node:
    """The hidden units in the rows of all gates."""
    pair = recording.algebra.factor(rows, gates)
    if pair is None:
        recording.algebra.pin(rows, "the gates of a recurrent layer cut across its rows")
        return fixed(rows.size // gates, "the gates of a recurrent layer cut across its rows")
    recording.algebra.pin(pair[0], "the gates of a recurrent layer")
    return pair[1]


def _equally_large(recording: Recording, layers: Sequence[_State]) -> None:
    """All layers and directions have the same sizes, and a projection makes smaller."""
    for state in layers[1:]:
        recording.integers.same_size(layers[0].hidden, state.hidden)
        recording.integers.same_size(layers[0].out, state.out)
    first = layers[0]
    if first.out is not first.hidden:
        sizes = recording.integers.size(first.out), recording.integers.size(first.hidden)
        sizes[0].__lt__(sizes[1])


def _start(recording: Recording, initial: Tensor, rows: Sequence[Node], uniform: bool) -> None:
    """The first states: learnt or computed ones have the units of every layer, zeros only as many."""
    if not recording.is_traced(initial):
        for node in rows:
            recording.algebra.pin(node, "it begins with a constant of the network")
        return
    *batch, last = recording.axes(initial)
    for node in batch:
        recording.algebra.pin(node, "layers and samples")
    for node in rows:
        last = normal(last)
        if not uniform or (isinstance(last, Atom) and last is not normal(node) and node is rows[0]):
            recording.algebra.unify(last, node)
        else:
            recording.integers.same_size(last, node)


@register_adapter(torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell)
def cell(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One step: ``x [N, features]`` and ``[N, hidden]`` states to new states."""
    given = named("input hx w_ih w_hh b_ih b_hh", args, kwargs)
    x, initial = given["input"], given["hx"]
    initial = tuple(initial) if isinstance(initial, (tuple, list)) else (initial,)
    uniform = [recording.is_uniform(tensor) for tensor in initial]
    results = unwatched(recording, func, args, kwargs, [tensor.shape for tensor in initial])
    *positions, source = recording.axes(x)
    biases = [given[name] for name in ("b_ih", "b_hh") if given.get(name) is not None]
    weights = [given["w_ih"], given["w_hh"], *biases]
    state = _layer(recording, _GATES[func], positions, source, weights, bool(biases))
    for tensor, same, result in zip(initial, uniform, results, strict=True):
        _start(recording, tensor, [state.hidden], same)
        recording.set_axes(result, [*(normal(node) for node in positions), normal(state.hidden)])
    return tuple(results) if len(results) > 1 else results[0]


@register_operator("aten._pack_padded_sequence")
def pack(recording: Recording, call: Call) -> None:
    """``[T, N, features]`` to ``[steps, features]``, and numbers of samples per step."""
    *positions, features = recording.axes(call.args[0])
    for node in positions:
        recording.algebra.pin(node, "the steps of a sequence")
    data, counts = call.out
    recording.set_axes(data, [fixed(data.shape[0], "the steps of all sequences"), features])
    recording.set_axes(counts, [fixed(counts.shape[0], "the steps of a sequence")])


@register_adapter(torch._VF._pad_packed_sequence)
def unpack(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``[steps, features]`` back to ``[T, N, features]``, padded; only a run on real tensors comes here."""
    features = recording.axes(args[0])[-1]
    data, lengths = unwatched(recording, func, args, kwargs, [(), ()])
    recording.set_axes(
        data, [*(fixed(size, "the steps of a sequence") for size in data.shape[:-1]), features]
    )
    return data, lengths

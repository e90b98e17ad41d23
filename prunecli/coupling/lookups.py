"""Rules of the operators that choose indices by number: gathering, scattering, sorting, tables that are read.

What is chosen among keeps all its indices, since a number names each; dimensions that are only carried along
pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunecli.coupling.nodes import Node, fixed, normal
from prunecli.coupling.operators import Call, register_operator
from prunecli.coupling.recording import Recording, Rows, tensors_in

_CHOSEN = "chosen by number"


def _pin_chosen(recording: Recording, node: Node) -> None:
    recording.algebra.pin(node, f"its indices are chosen by number in {recording.where}")


@register_operator("aten.gather")
def gather(recording: Recording, call: Call) -> None:
    """Each entry of ``index`` chooses along ``dim`` at its own place in the other dimensions."""
    axes, dim = recording.axes(call.args[0]), call.args[1]
    recording.set_axes(call.out, _aligned(recording, axes, dim, call.args[2]))


@register_operator("aten.scatter", "aten.scatter_add", "aten.scatter_reduce")
def scatter(recording: Recording, call: Call) -> None:
    """Each entry of ``index`` says where along ``dim`` an entry of the source goes."""
    axes, dim = recording.axes(call.args[0]), call.args[1]
    places = _aligned(recording, axes, dim, call.args[2])
    if isinstance(call.args[3], Tensor):
        for node, other in zip(places, recording.axes(call.args[3]), strict=True):
            recording.algebra.unify(node, other)
    recording.set_axes(call.out, [normal(node) for node in axes])


def _aligned(recording: Recording, axes: Sequence[Node], dim: int, index: Tensor) -> list[Node]:
    """The axes of ``index``, aligned with ``axes`` in all dimensions but ``dim``."""
    chosen = list(recording.axes(index))
    if not chosen:
        return chosen
    dim %= len(chosen)
    _pin_chosen(recording, axes[dim])
    _pin_chosen(recording, chosen[dim])
    for position, (node, other) in enumerate(zip(axes, chosen, strict=True)):
        if position != dim and node.size == other.size:
            recording.algebra.unify(node, other)
        elif position != dim:
            # Only the first indices of the longer one are used: a slice by a number that nobody wrote.
            _pin_chosen(recording, node)
            _pin_chosen(recording, other)
    return [normal(node) for node in chosen]


@register_operator("aten.index_select")
def index_select(recording: Recording, call: Call) -> None:
    rows = recording.rows(call.args[0])
    if rows is not None and call.args[1] == 1:
        # The samples of a packed batch in another order.
        samples = fixed(call.out.shape[1], _CHOSEN)
        recording.set_rows(call.out, Rows((samples, *rows.batch[1:]), rows.last))
        return
    axes = list(recording.axes(call.args[0]))
    dim = call.args[1] % max(1, len(axes))
    recording.pin_all([call.args[2]], "it holds numbers of indices")
    for node in axes[dim : dim + 1]:
        _pin_chosen(recording, node)
        axes[dim] = fixed(call.out.shape[dim], _CHOSEN)
    recording.set_axes(call.out, axes)


@register_operator("aten.index_add", "aten.index_copy", "aten.index_fill", "aten.index_reduce")
def index_add(recording: Recording, call: Call) -> None:
    """``source`` goes to the places along ``dim`` that ``index`` says."""
    axes = recording.axes(call.args[0])
    dim = call.args[1] % len(axes)
    _pin_chosen(recording, axes[dim])
    source = call.args[3]
    if isinstance(source, Tensor) and source.dim() == len(axes):
        for position, (node, other) in enumerate(zip(axes, recording.axes(source), strict=True)):
            if position == dim:
                _pin_chosen(recording, other)
            else:
                recording.algebra.unify(node, other)
    recording.set_axes(call.out, [normal(node) for node in axes])


@register_operator("aten.topk", "aten.kthvalue", "aten.median", "aten.nanmedian", "aten.mode")
def ranked(recording: Recording, call: Call) -> None:
    """Some of the values along ``dim``, by rank."""
    source, out = call.args[0], tensors_in(call.out)
    axes = list(recording.axes(source))
    position = 2 if call.name in ("aten.topk", "aten.kthvalue") else 1
    dim = call.get(position, -1)
    if dim is None or not axes or (position == 1 and len(call.args) == 1):
        recording.pin_all([source], f"its indices are chosen by rank in {recording.where}")
        axes = []
    else:
        dim %= len(axes)
        recording.algebra.pin(axes[dim], f"its indices are chosen by rank in {recording.where}")
        rest = axes[:dim] + axes[dim + 1 :]
        kept = out[0].dim() == len(axes)
        axes = [*axes[:dim], fixed(out[0].shape[dim], _CHOSEN), *axes[dim + 1 :]] if kept else rest
    for tensor in out:
        recording.set_axes(tensor, axes)


@register_operator("aten._embedding_bag", "aten._embedding_bag_forward_only")
def embedding_bag(recording: Recording, call: Call) -> None:
    """``weight`` ``[entries, features]``; the result is ``[bags, features]``, and numbers about the bags."""
    weight = call.args[0]
    entries, features = recording.axes(weight)
    recording.algebra.pin(entries, "entries of an embedding table are chosen by number")
    recording.role(weight, "other", "out")
    recording.pin_all([t for t in tensors_in(call.args[1:]) if recording.is_traced(t)], _CHOSEN)
    bags, *numbers = tensors_in(call.out)
    recording.set_axes(bags, [fixed(bags.shape[0], "bags of an embedding"), features])
    for tensor in numbers:
        recording.set_axes(tensor, [fixed(size, "bags of an embedding") for size in tensor.shape])


@register_operator("aten.index", "aten._unsafe_index")
def index(recording: Recording, call: Call) -> None:
    """Indexed dimensions keep all their indices; the others pass where they land unambiguously."""
    axes, chosen = recording.axes(call.args[0]), _indexed(call.args[1])
    for dim in chosen:
        recording.algebra.pin(axes[dim], f"it is indexed by a tensor in {recording.where}")
    rest = [node for dim, node in enumerate(axes) if dim not in chosen]
    inserted = call.out.dim() - len(rest)
    contiguous = chosen == list(range(chosen[0], chosen[0] + len(chosen)))
    position = chosen[0] if contiguous else 0
    new = [fixed(size, _CHOSEN) for size in call.out.shape[position : position + inserted]]
    recording.set_axes(call.out, [*rest[:position], *new, *rest[position:]])


def _indexed(indices: Sequence[Tensor | None]) -> list[int]:
    """The dimensions that a list of index tensors covers: a mask covers as many as it has."""
    dims: list[int] = []
    position = 0
    for tensor in indices:
        width = 1
        if tensor is not None:
            width = tensor.dim() if tensor.dtype in (torch.bool, torch.uint8) else 1
            dims += range(position, position + width)
        position += width
    return dims


@register_operator("aten.index_put", "aten._index_put_impl", "aten._unsafe_index_put")
def index_put(recording: Recording, call: Call) -> None:
    """Indexed dimensions keep all their indices; the last ones beyond them are those of the values."""
    axes, values = recording.axes(call.args[0]), recording.axes(call.args[2])
    first_free = max(_indexed(call.args[1]), default=-1) + 1
    free = axes[first_free:]
    for node in axes[:first_free]:
        recording.algebra.pin(node, f"it is indexed by a tensor in {recording.where}")
    for node, other in zip(reversed(free), reversed(values), strict=False):
        if node.size == other.size:
            recording.algebra.unify(node, other)
    for node in values[: max(0, len(values) - len(free))]:
        recording.algebra.pin(node, f"it is put at indices chosen by number in {recording.where}")
    recording.set_axes(call.out, [normal(node) for node in axes])

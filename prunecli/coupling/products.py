"""Rules of the operators that multiply by weights: convolutions, matrix products, embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunecli.coupling.nodes import ONE, Node, fixed, is_pinned, leaves, normal, product
from prunecli.coupling.operators import (
    CONV_GROUPS,
    HEAD_DIMENSION,
    HEADS,
    KV_HEADS,
    QUERY_HEADS,
    REPEATED,
    VALUE_CHANGING,
    Call,
    fixed_positions,
    register_operator,
)
from prunecli.coupling.recording import Recording


@register_operator("aten.convolution", "aten._convolution")
def convolution(recording: Recording, call: Call) -> None:
    """``weight`` is ``[O, I/G, k...]`` (transposed: ``[I, O/G, k...]``); output ``O = G x O/G``, input ``I =
    G x I/G``.
    """
    x, weight, bias, transposed, groups = call.args[0], call.args[1], call.args[2], call.args[6], call.args[8]
    algebra, w, inputs = recording.algebra, recording.axes(weight), recording.axes(x)
    for node in w[2:]:
        algebra.pin(node, "kernel size")
    full, per_group = w[0], w[1]
    group: Node = ONE
    if groups > 1:
        pair = algebra.factor(full, groups)
        if pair is None:
            group = fixed(groups, "the groups of a convolution cut across its channels")
            algebra.pin(full, "the groups of a convolution cut across its channels")
        else:
            group = pair[0]
            if transposed or full.size > groups or per_group.size > 1:
                _mark_groups(recording, group, full.size // groups, per_group.size)
    other = product((group, per_group))
    source, target = (full, other) if transposed else (other, full)
    batched = x.dim() == weight.dim()
    channel = 1 if batched else 0
    algebra.unify(inputs[channel], source)
    if bias is not None:
        algebra.unify(recording.axes(bias)[0], target)
    spatial = _positions(recording, call, inputs[channel + 1 :])
    recording.set_axes(call.out, [*inputs[:channel], normal(target), *spatial])
    recording.role(weight, *(("in", "out") if transposed else ("out", "in")))
    recording.role(bias, "bias")
    recording.conv_groups = group
    positions = inputs[channel + 1 :] if transposed else spatial
    batch = x.shape[0] if batched else 1
    recording.cost(batch * weight.shape[2:].numel(), (w[0], w[1], *positions))


def _positions(recording: Recording, call: Call, inputs: Sequence[Node]) -> list[Node]:
    """Positions of the output. A kernel of one that moves by one looks at each position alone: they pass. One
    that slides over a single row and keeps its length mixes each with its neighbours, whoever they are.
    """
    weight, transposed = call.args[1], call.args[6]
    sizes = call.out.shape[call.out.dim() - len(inputs) :]
    strides, paddings, dilations = (
        list(given) * (len(inputs) if len(given) == 1 else 1) for given in call.args[3:6]
    )
    row = tuple(weight.shape[:2]) == (1, 1) and len(inputs) == 1 and not transposed
    result = []
    for dim, node in enumerate(inputs):
        reach, padding = (weight.shape[2 + dim] - 1) * dilations[dim], paddings[dim]
        if strides[dim] != 1 or reach != 2 * padding or not (row or reach == 0):
            result.append(fixed_positions(recording, node, sizes[dim]))
            continue
        if reach:
            recording.algebra.mark(node, VALUE_CHANGING, "a kernel slides over it")
        result.append(normal(node))
    return result


def _mark_groups(recording: Recording, group: Node, out_per_group: int, in_per_group: int) -> None:
    """Depthwise groups are the channels themselves; any other group count is frozen unless asked for."""
    if out_per_group > 1 and in_per_group > 1:
        recording.algebra.mark(
            group, CONV_GROUPS, f"the number of groups of the convolution {recording.where}"
        )


@register_operator("aten.mm")
def mm(recording: Recording, call: Call) -> None:
    _matmul(recording, call.args[0], call.args[1], call.out)


@register_operator("aten.addmm")
def addmm(recording: Recording, call: Call) -> None:
    _matmul(recording, call.args[1], call.args[2], call.out)
    _add_broadcast(recording, call.args[0], call.out)
    recording.role(call.args[0], "bias")


@register_operator("aten.bmm")
def bmm(recording: Recording, call: Call) -> None:
    _matmul(recording, call.args[0], call.args[1], call.out)


@register_operator("aten.baddbmm")
def baddbmm(recording: Recording, call: Call) -> None:
    _matmul(recording, call.args[1], call.args[2], call.out)
    _add_broadcast(recording, call.args[0], call.out)


@register_operator("aten.mv")
def mv(recording: Recording, call: Call) -> None:
    left, right = recording.axes(call.args[0]), recording.axes(call.args[1])
    recording.algebra.unify(left[1], right[0])
    recording.set_axes(call.out, [left[0]])
    recording.cost(1, left)


def _matmul(recording: Recording, left: Tensor, right: Tensor, out: Tensor) -> None:
    a, b = recording.axes(left), recording.axes(right)
    recording.algebra.unify(a[-1], b[-2])
    if len(a) == 3:
        recording.algebra.unify(a[0], b[0])
        mark_heads(recording, a[0], a[-1], b[-1])
    recording.role(right, "in", "out")
    recording.set_axes(out, [normal(node) for node in (*a[:-1], b[-1])])
    recording.cost(1, (*a[:-1], a[-1], b[-1]))


def mark_heads(recording: Recording, batch: Node, *dimensions: Node) -> None:
    """Unpinned axes in the batch of a matrix product count how often it is done: attention heads and their
    kin. Where keys are repeated for several queries, the repeats are query heads and the rest kv heads.
    """
    if is_pinned(batch):
        return
    algebra = recording.algebra
    atoms = [atom for atom in leaves(batch) if atom.pinned is None]
    grouped = any(REPEATED in (atom.marks or {}) for atom in atoms)
    for atom in atoms:
        algebra.mark(atom, HEADS, f"the number of heads in {recording.where}")
        if grouped:
            kind = QUERY_HEADS if REPEATED in (atom.marks or {}) else KV_HEADS
            algebra.mark(atom, kind, f"the number of {kind} in {recording.where}")
    for dimension in dimensions:
        algebra.mark(dimension, HEAD_DIMENSION, f"the size of a head in {recording.where}")


def _add_broadcast(recording: Recording, term: Tensor, out: Tensor) -> None:
    own, axes = recording.axes(term), recording.axes(out)
    for node, target in zip(reversed(own), reversed(axes), strict=False):
        if node.size == target.size and node.size > 1:
            recording.algebra.unify(target, node)


@register_operator("aten.embedding")
def embedding(recording: Recording, call: Call) -> None:
    weight, indices = call.args[0], call.args[1]
    vocabulary, features = recording.axes(weight)
    recording.algebra.pin(vocabulary, "entries of an embedding table are chosen by number")
    recording.role(weight, "other", "out")
    recording.set_axes(call.out, [*recording.axes(indices), features])

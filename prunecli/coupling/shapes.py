"""Rules of the operators that only rearrange: views, permutations, slices, concatenations."""

from __future__ import annotations

from itertools import pairwise
from math import prod

from torch import Tensor

from prunecli.coupling.nodes import ONE, Node, concat, fixed, fresh, is_pinned, normal, product
from prunecli.coupling.operators import REPEATED, Call, register_operator, unknown
from prunecli.coupling.recording import Recording


@register_operator("aten.view", "aten._unsafe_view", "aten.reshape", "aten._reshape_alias", "aten.view_copy")
def view(recording: Recording, call: Call) -> None:
    recording.set_axes(call.out, recording.algebra.reshape(recording.axes(call.args[0]), call.out.shape))


@register_operator("aten.t", "aten.numpy_T")
def transpose_all(recording: Recording, call: Call) -> None:
    source = call.args[0]
    recording.set_axes(call.out, reversed(recording.axes(source)))


@register_operator("aten.transpose", "aten.swapaxes")
def transpose(recording: Recording, call: Call) -> None:
    axes = list(recording.axes(call.args[0]))
    first, second = call.args[1], call.args[2]
    if axes:
        axes[first], axes[second] = axes[second], axes[first]
    recording.set_axes(call.out, axes)


@register_operator("aten.permute")
def permute(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    recording.set_axes(call.out, [axes[dim] for dim in call.args[1]])


@register_operator("aten.unsqueeze")
def unsqueeze(recording: Recording, call: Call) -> None:
    axes = list(recording.axes(call.args[0]))
    axes.insert(call.args[1] % (len(axes) + 1), ONE)
    recording.set_axes(call.out, axes)


@register_operator("aten.squeeze")
def squeeze(recording: Recording, call: Call) -> None:
    source = call.args[0]
    given = call.get(1, range(source.dim()))
    dims = (
        {dim % source.dim() for dim in ([given] if isinstance(given, int) else given)}
        if source.dim()
        else set()
    )
    axes = recording.axes(source)
    recording.set_axes(
        call.out, [node for dim, node in enumerate(axes) if not (dim in dims and source.shape[dim] == 1)]
    )


@register_operator("aten.expand")
def expand(recording: Recording, call: Call) -> None:
    """A repeated index is a new axis of its own: nothing is known of it until it meets another."""
    axes = recording.axes(call.args[0])
    offset = call.out.dim() - len(axes)
    result: list[Node] = []
    for position, size in enumerate(call.out.shape):
        node = axes[position - offset] if position >= offset else ONE
        if node.size != size:
            node = fresh(size)
            recording.algebra.mark(node, REPEATED, f"repeated in {recording.where}")
        result.append(node)
    recording.set_axes(call.out, result)


@register_operator("aten.repeat")
def repeat(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    offset = call.out.dim() - len(axes)
    result = []
    for position, times in enumerate(call.args[1]):
        node = axes[position - offset] if position >= offset else ONE
        result.append(product((fixed(times, "repeated"), node)))
    recording.set_axes(call.out, result)


@register_operator("aten.cat")
def cat(recording: Recording, call: Call) -> None:
    tensors: list[Tensor] = [t for t in call.args[0] if t.shape != (0,)] or call.args[0]
    dim = call.get(1, 0) % call.out.dim()
    all_axes = [recording.axes(tensor) for tensor in tensors]
    axes = list(all_axes[0])
    for other in all_axes[1:]:
        for position, node in enumerate(other):
            if position != dim:
                recording.algebra.unify(axes[position], node)
    axes[dim] = concat(own[dim] for own in all_axes)
    recording.set_axes(call.out, [normal(node) for node in axes])


@register_operator("aten.stack")
def stack(recording: Recording, call: Call) -> None:
    tensors = call.args[0]
    dim = call.get(1, 0) % call.out.dim()
    axes = list(recording.axes(tensors[0]))
    for tensor in tensors[1:]:
        for node, other in zip(axes, recording.axes(tensor), strict=True):
            recording.algebra.unify(node, other)
    axes = [normal(node) for node in axes]
    axes.insert(dim, fixed(len(tensors), "tensors stacked in forward"))
    recording.set_axes(call.out, axes)


@register_operator(
    "aten.split",
    "aten.split_with_sizes",
    "aten.unsafe_split",
    "aten.unsafe_split_with_sizes",
    "aten.unsafe_chunk",
    "aten.chunk",
)
def split(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    dim = call.get(2, 0) % len(axes)
    parts = recording.algebra.split_all(axes[dim], [part.shape[dim] for part in call.out])
    for part, node in zip(call.out, parts, strict=True):
        if not recording.sliced_by_function and len(parts) > 1:
            recording.algebra.pin(node, f"it is a slice with plain numbers in {recording.where}")
        recording.set_axes(part, [*axes[:dim], node, *axes[dim + 1 :]])


@register_operator("aten.slice", "aten.narrow")
def slice_(recording: Recording, call: Call) -> None:
    source, dim = call.args[0], call.get(1, 0)
    axes = list(recording.axes(source))
    dim %= len(axes)
    size, length = source.shape[dim], call.out.shape[dim]
    if length != size:
        if call.name == "aten.narrow":
            start, step = call.args[2], 1
        else:
            start, step = call.get(2) or 0, call.get(4) or 1
        start = max(0, start + size if start < 0 else start)
        axes[dim] = _sliced(recording, axes[dim], start, length, step)
    recording.set_axes(call.out, axes)


def _sliced(recording: Recording, node: Node, start: int, length: int, step: int) -> Node:
    if is_pinned(node):
        return fixed(length, "a slice of a fixed axis")
    if step != 1:
        recording.algebra.pin(node, f"every {step}th index of it is taken")
        return fixed(length, f"every {step}th index of a fixed axis")
    before, part, after = recording.algebra.split_all(node, [start, length, node.size - start - length])
    if not recording.sliced_by_function:
        for piece in (before, part, after):
            recording.algebra.pin(piece, f"it is sliced with plain numbers in {recording.where}")
    return part


@register_operator("aten.select")
def select(recording: Recording, call: Call) -> None:
    rows = recording.rows(call.args[0])
    if rows is not None and call.args[1] % (len(rows.batch) + 2) == 0:
        recording.set_axes(call.out, rows.row(call.args[2]))
        return
    axes = list(recording.axes(call.args[0]))
    dim = call.args[1] % len(axes)
    recording.algebra.pin(axes[dim], f"index {call.args[2]} of it is taken in {recording.where}")
    del axes[dim]
    recording.set_axes(call.out, axes)


@register_operator("aten.unbind")
def unbind(recording: Recording, call: Call) -> None:
    rows = recording.rows(call.args[0])
    if rows is not None and call.get(1, 0) == 0:
        for index, out in enumerate(call.out):
            recording.set_axes(out, rows.row(index))
        return
    axes = list(recording.axes(call.args[0]))
    dim = call.get(1, 0) % len(axes)
    recording.algebra.pin(axes[dim], f"it is unpacked in {recording.where}")
    del axes[dim]
    for out in call.out:
        recording.set_axes(out, axes)


@register_operator("aten.constant_pad_nd")
def pad(recording: Recording, call: Call) -> None:
    """Padding is concatenation with indices that stay; a negative pad is a slice."""
    axes = list(recording.axes(call.args[0]))
    amounts = call.args[1]
    for pair in range(len(amounts) // 2):
        dim = len(axes) - 1 - pair
        left, right = amounts[2 * pair], amounts[2 * pair + 1]
        if left < 0 or right < 0:
            recording.algebra.pin(axes[dim], "it is cropped")
            axes[dim] = fixed(call.out.shape[dim], "cropped")
        elif left or right:
            axes[dim] = concat((fixed(left, "padding"), axes[dim], fixed(right, "padding")))
    recording.set_axes(call.out, axes)


@register_operator("aten.pixel_shuffle")
def pixel_shuffle(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    factor = call.args[1]
    pair = recording.algebra.factor(axes[-3], axes[-3].size // factor**2)
    channel = pair[0] if pair else fixed(call.out.shape[-3], "a pixel shuffle cuts across it")
    recording.algebra.pin(pair[1] if pair else axes[-3], "positions inside a pixel shuffle")
    tail = [fixed(size, "spatial positions") for size in call.out.shape[-2:]]
    recording.set_axes(call.out, [*axes[:-3], normal(channel), *tail])


@register_operator("aten.pixel_unshuffle")
def pixel_unshuffle(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    tail = [fixed(size, "spatial positions") for size in call.out.shape[-2:]]
    inside = fixed(call.args[1] ** 2, "positions inside a pixel shuffle")
    recording.set_axes(call.out, [*axes[:-3], product((axes[-3], inside)), *tail])


@register_operator("aten.channel_shuffle", "aten.native_channel_shuffle")
def channel_shuffle(recording: Recording, call: Call) -> None:
    axes = list(recording.axes(call.args[0]))
    pair = recording.algebra.factor(axes[1], call.args[1])
    if pair is None:
        recording.algebra.pin(axes[1], "a channel shuffle cuts across it")
    else:
        recording.algebra.pin(pair[0], "the number of groups of a channel shuffle")
        axes[1] = product((pair[1], pair[0]))
    recording.set_axes(call.out, axes)


@register_operator("aten.im2col")
def im2col(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    kernel = fixed(prod(call.args[1]), "kernel positions")
    recording.set_axes(
        call.out, [*axes[:-3], product((axes[-3], kernel)), fixed(call.out.shape[-1], "spatial positions")]
    )


@register_operator("aten.col2im")
def col2im(recording: Recording, call: Call) -> None:
    """The reverse: channels x kernel positions are laid back into an image."""
    axes = recording.axes(call.args[0])
    pair = recording.algebra.factor(axes[-2], axes[-2].size // prod(call.args[2]))
    for node in (axes[-1], axes[-2] if pair is None else pair[1]):
        recording.algebra.pin(node, "kernel positions")
    channel = fixed(call.out.shape[-3], "kernel positions") if pair is None else pair[0]
    tail = [fixed(size, "spatial positions") for size in call.out.shape[-2:]]
    recording.set_axes(call.out, [*axes[:-2], normal(channel), *tail])


@register_operator("aten.unfold")
def unfold(recording: Recording, call: Call) -> None:
    """Windows of a dimension, as a last dimension of their own."""
    axes = list(recording.axes(call.args[0]))
    dim = call.args[1] % len(axes)
    recording.algebra.pin(axes[dim], f"windows of it are taken in {recording.where}")
    axes[dim] = fixed(call.out.shape[dim], "windows")
    recording.set_axes(call.out, [*axes, fixed(call.out.shape[-1], "positions in a window")])


@register_operator("aten.glu")
def glu(recording: Recording, call: Call) -> None:
    """The two halves are multiplied index by index, so they lose the same indices."""
    axes = list(recording.axes(call.args[0]))
    dim = call.get(1, -1) % len(axes)
    pair = recording.algebra.split(axes[dim], axes[dim].size // 2)
    recording.algebra.unify(*pair)
    axes[dim] = normal(pair[0])
    recording.set_axes(call.out, axes)


@register_operator("aten.diagonal", "aten.diagonal_copy")
def diagonal(recording: Recording, call: Call) -> None:
    axes = list(recording.axes(call.args[0]))
    dims = sorted((call.get(2, 0) % len(axes), call.get(3, 1) % len(axes)), reverse=True)
    for dim in dims:
        recording.algebra.pin(axes.pop(dim), f"the diagonal of it is taken in {recording.where}")
    recording.set_axes(call.out, [*axes, fixed(call.out.shape[-1], "a diagonal")])


@register_operator("aten.as_strided")
def as_strided(recording: Recording, call: Call) -> None:
    """Pooling to one position restrides its result in place; any other use cannot be followed."""
    source, shape, stride = call.args[0], call.args[1], call.args[2]
    large = [dim for dim, size in enumerate(shape) if size > 1]
    row_major = all(stride[a] == stride[b] * shape[b] for a, b in pairwise(large))
    if call.out is source and row_major and (not large or stride[large[-1]] == 1):
        return
    unknown(recording, call)

"""Rules of the operators that look along an axis: norms, softmax, reductions, pooling and resizing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunecli.coupling.nodes import ONE, Node, fixed, normal
from prunecli.coupling.operators import (
    NORM_GROUPS,
    VALUE_CHANGING,
    Call,
    fixed_positions,
    pointwise,
    register_operator,
)
from prunecli.coupling.recording import Recording, tensors_in
from prunecli.coupling.space import Role


def _channel_parameters(recording: Recording, channel: Node, *parameters: Tensor | None) -> None:
    for parameter in parameters:
        if parameter is not None:
            recording.algebra.unify(channel, recording.axes(parameter)[0])
            recording.role(parameter, "norm")


@register_operator(
    "aten.native_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_no_training",
    "aten._batch_norm_with_update",
    "aten._batch_norm_no_update",
    "aten.cudnn_batch_norm",
)
def batch_norm(recording: Recording, call: Call) -> None:
    """Per-channel statistics: dimension 1 is shared with gamma, beta and the running statistics. Statistics
    taken from the batch itself (a standardised weight is one) average over all other dimensions.
    """
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    axes = recording.axes(x)
    statistics = [t for t in call.args[3:5] if isinstance(t, Tensor)]
    _channel_parameters(recording, axes[1], weight, bias, *statistics)
    of_batch = not statistics or any(flag is True for flag in call.args[3:6])
    if of_batch:
        for node in (axes[0], *axes[2:]):
            recording.algebra.mark(node, VALUE_CHANGING, "batch statistics average over it")
    _set_first(recording, call, axes)
    # As fvcore counts: statistics have to be computed first where they are those of the batch.
    recording.cost((4 if of_batch else 1) + (weight is not None), axes, is_product=False)


def _set_first(recording: Recording, call: Call, axes: Sequence[Node]) -> None:
    outs = tensors_in(call.out)
    recording.set_axes(outs[0], [normal(node) for node in axes])
    for tensor in outs[1:]:
        recording.set_axes(tensor, [fixed(size, "statistics of a normalisation") for size in tensor.shape])


_NORM: tuple[Role, ...] = ("norm",) * 8


@register_operator("aten.native_layer_norm")
def layer_norm(recording: Recording, call: Call) -> None:
    """Mean and variance over the last dimensions: removing an index changes the others."""
    x, count = call.args[0], len(call.args[1])
    axes = recording.axes(x)
    for parameter in (call.args[2], call.args[3]):
        if parameter is not None:
            for node, own in zip(axes[-count:], recording.axes(parameter), strict=True):
                recording.algebra.unify(node, own)
            recording.role(parameter, *_NORM[:count])
    for node in axes[-count:]:
        recording.algebra.mark(node, VALUE_CHANGING, "a LayerNorm averages over it")
    _set_first(recording, call, axes)
    recording.cost(5 if call.args[2] is not None else 4, axes, is_product=False)


@register_operator("aten.native_group_norm")
def group_norm(recording: Recording, call: Call) -> None:
    """Channels are groups x channels per group; each group is averaged."""
    x, weight, bias, groups = call.args[0], call.args[1], call.args[2], call.args[6]
    axes = recording.axes(x)
    pair = recording.algebra.factor(axes[1], groups)
    if pair is None:
        recording.algebra.pin(axes[1], "the groups of a GroupNorm cut across its channels")
    else:
        recording.algebra.mark(
            pair[0], NORM_GROUPS, f"the number of groups of the GroupNorm {recording.where}"
        )
        recording.algebra.mark(pair[1], VALUE_CHANGING, "a GroupNorm averages over it")
        recording.conv_groups = pair[0]
    _channel_parameters(recording, axes[1], weight, bias)
    _set_first(recording, call, axes)
    recording.cost(5 if weight is not None else 4, axes, is_product=False)


@register_operator("aten._weight_norm_interface")
def weight_norm(recording: Recording, call: Call) -> None:
    """Direction and length of the slices of a weight along ``dim``: lengths are taken over all the others."""
    weight, lengths, dim = call.args[0], call.args[1], call.get(2, 0)
    axes = recording.axes(weight)
    dim %= len(axes)
    recording.algebra.unify(axes[dim], recording.axes(lengths)[dim])
    for node in (*axes[:dim], *axes[dim + 1 :]):
        recording.algebra.mark(node, VALUE_CHANGING, "a weight is divided by its length over it")
    recording.role(weight, *("out" if position == dim else "in" for position in range(len(axes))))
    recording.role(lengths, *("out" if position == dim else "other" for position in range(len(axes))))
    recording.has_length_elsewhere(weight, dim)
    _set_first(recording, call, axes)


@register_operator("aten.dot", "aten.vdot")
def dot(recording: Recording, call: Call) -> None:
    (left,), (right,) = recording.axes(call.args[0]), recording.axes(call.args[1])
    recording.algebra.unify(left, right)
    recording.algebra.mark(left, VALUE_CHANGING, "a scalar product runs over it")
    recording.set_axes(call.out, [])


@register_operator(
    "aten.softmax", "aten._softmax", "aten._safe_softmax", "aten._log_softmax", "aten.logcumsumexp"
)
def softmax(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    recording.algebra.mark(axes[call.args[1]], VALUE_CHANGING, "a softmax runs over it")
    recording.set_axes(call.out, axes)


_REDUCTIONS = {
    "aten.sum": "a sum runs over it",
    "aten.nansum": "a sum runs over it",
    "aten.linalg_vector_norm": "a norm runs over it",
    "aten.norm": "a norm runs over it",
    "aten.mean": "a mean runs over it",
    "aten.amax": "a maximum runs over it",
    "aten.amin": "a minimum runs over it",
    "aten.var": "a variance runs over it",
    "aten.var_mean": "a variance runs over it",
    "aten.std": "a standard deviation runs over it",
    "aten.std_mean": "a standard deviation runs over it",
    "aten.logsumexp": "a log-sum-exp runs over it",
    "aten.aminmax": "a minimum and a maximum run over it",
    "aten.max": "a maximum runs over it",
    "aten.min": "a minimum runs over it",
    "aten.argmax": None,
    "aten.argmin": None,
    "aten.prod": None,
    "aten.any": None,
    "aten.all": None,
}
_PINNING_REDUCTIONS = {"aten.argmax", "aten.argmin", "aten.prod", "aten.any", "aten.all"}
_DIM_POSITION = {"aten.linalg_vector_norm": 2, "aten.norm": 2}


@register_operator(*_REDUCTIONS)
def reduction(recording: Recording, call: Call) -> None:
    """Reduced axes disappear. A silenced unit need not be zero there (a sigmoid stands between), so even a
    sum sees whether it is gone.
    """
    axes = recording.axes(call.args[0])
    dims = call.get(_DIM_POSITION.get(call.name, 1))
    if isinstance(dims, Tensor):
        pointwise(recording, call)
        return
    reduced = set(range(len(axes))) if dims is None or dims == [] else {
        dim % len(axes) for dim in ([dims] if isinstance(dims, int) else dims)
    }  # fmt: skip
    for dim in reduced:
        why = _REDUCTIONS[call.name]
        if call.name in _PINNING_REDUCTIONS:
            recording.algebra.pin(axes[dim], f"{call.name} runs over it")
        elif why is not None:
            recording.algebra.mark(axes[dim], VALUE_CHANGING, why)
    for out in tensors_in(call.out):
        keep = out.dim() == len(axes)
        recording.set_axes(
            out, [ONE if d in reduced else node for d, node in enumerate(axes) if keep or d not in reduced]
        )


@register_operator(
    "aten.cumsum", "aten.cumprod", "aten.cummax", "aten.cummin", "aten.flip", "aten.roll", "aten.rot90",
    "aten.sort", "aten.tril", "aten.triu",
)  # fmt: skip
def order_matters(recording: Recording, call: Call) -> None:
    """Position matters along some dimensions: those keep all their indices."""
    axes = recording.axes(call.args[0])
    if call.name in ("aten.tril", "aten.triu"):
        dims: Sequence[int] = (-2, -1)
    else:
        argument = call.get(2 if call.name in ("aten.roll", "aten.rot90") else 1, -1)
        dims = [argument] if isinstance(argument, int) else list(argument) or range(len(axes))
    for dim in dims:
        recording.algebra.pin(axes[dim], f"{call.name} depends on the order of its indices")
    for out in tensors_in(call.out):
        recording.set_axes(out, [normal(node) for node in axes])


def spatial(recording: Recording, call: Call, count: int) -> None:
    """Pooling and resizing: the last ``count`` dimensions are positions, the others pass."""
    axes = recording.axes(call.args[0])
    for out in tensors_in(call.out):
        tail = [
            fixed_positions(recording, node, size)
            for node, size in zip(axes[-count:], out.shape[-count:], strict=True)
        ]
        recording.set_axes(out, [*axes[:-count], *tail])


_RESIZES = {
    1: ("nearest1d", "linear1d"),
    2: ("nearest2d", "bilinear2d", "bicubic2d"),
    3: ("nearest3d", "trilinear3d"),
}


def _register_spatial() -> None:
    for count, resizes in _RESIZES.items():
        names = [f"{kind}_pool{count}d" for kind in ("avg", "adaptive_max", "max", "fractional_max")]
        names += [
            f"_adaptive_avg_pool{count}d",
            f"adaptive_avg_pool{count}d",
            f"max_pool{count}d_with_indices",
        ]
        names += [f"{kind}_pad{count}d" for kind in ("reflection", "replication")]
        names += [f"max_unpool{count}d"] if count > 1 else []
        names += [f"upsample_{kind}" for kind in resizes] + [f"_upsample_nearest_exact{count}d"]
        names += [f"_upsample_{kind}_aa" for kind in resizes if kind.startswith("bi")]

        def rule(recording: Recording, call: Call, count: int = count) -> None:
            spatial(recording, call, count)
            if call.name in ("aten.upsample_nearest2d", "aten.upsample_bilinear2d"):
                scale = 4 if "bilinear" in call.name else 1
                recording.cost(scale, recording.axes(call.out), is_product=False)

        register_operator(*(f"aten.{name}" for name in names))(rule)


_register_spatial()


@register_operator("aten.grid_sampler_2d", "aten.grid_sampler_3d", "aten.grid_sampler")
def grid_sampler(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    for node in (*axes[2:], *recording.axes(call.args[1])):
        recording.algebra.pin(node, "spatial positions")
    tail = [fixed(size, "spatial positions") for size in call.out.shape[2:]]
    recording.set_axes(call.out, [*axes[:2], *tail])
    recording.cost(4, recording.axes(call.out), is_product=False)

"""One rule per ATen operator: which axes of its arguments and results are the same.

A rule has the form ``rule(recording, call)`` and sets the axes of ``call.out``. An operator without a rule
that is not pointwise either pins every axis it touches and is listed in the report: ignorance costs
compression, never correctness. :func:`register_operator` adds a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from prunecli.coupling.algebra import ONE, Node, fixed, fresh, is_pinned, normal, product
from prunecli.coupling.recording import Recording, tensors_in
from prunecli.coupling.space import Role

VALUE_CHANGING = "value-changing"
HEADS = "heads"
CONV_GROUPS = "convolution groups"
NORM_GROUPS = "normalisation groups"


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call: its name, its arguments by position with defaults filled in, its result."""

    name: str
    args: tuple[Any, ...]
    out: Any

    def get(self, position: int, default: Any = None) -> Any:
        return self.args[position] if position < len(self.args) else default


Rule = Callable[[Recording, Call], None]
RULES: dict[str, Rule] = {}


def register_operator(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operators, by base name (``aten.convolution``). Duplicates raise
    ``ValueError``.
    """

    def add(rule: Rule) -> Rule:
        for name in names:
            if name in RULES:
                raise ValueError(f"operator {name} already has a rule")
            RULES[name] = rule
        return rule

    return add


def unknown(recording: Recording, call: Call) -> None:
    """Pin everything an unknown operator touches."""
    touched = [t for t in tensors_in(call.args) if recording.is_traced(t)]
    reason = f"operator {call.name} has no rule"
    if any(not is_pinned(node) for tensor in touched for node in recording.axes(tensor)):
        recording.unknown.setdefault(call.name)
        recording.pin_all(touched, reason)
    for tensor in tensors_in(call.out):
        recording.set_axes(tensor, [fixed(size, reason) for size in tensor.shape])


def pointwise(recording: Recording, call: Call) -> None:
    """Broadcast-aligned axes are the same."""
    out = tensors_in(call.out)[0]
    shape = out.shape
    rank = len(shape)
    result: list[Node | None] = [None] * rank
    for tensor in tensors_in(call.args):
        offset = rank - tensor.dim()
        for dim, node in enumerate(recording.axes(tensor)):
            position = dim + offset
            if position < 0 or shape[position] == 1 or node.size != shape[position]:
                continue
            known = result[position]
            if known is None:
                result[position] = node
            else:
                recording.algebra.unify(known, node)
    axes = [ONE if node is None else normal(node) for node in result]
    for tensor in tensors_in(call.out):
        recording.set_axes(tensor, axes if tensor.shape == shape else [fresh(s) for s in tensor.shape])


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
    spatial = [_like_spatial(recording, node, size) for node, size in
               zip(inputs[channel + 1 :], call.out.shape[channel + 1 :], strict=True)]  # fmt: skip
    recording.set_axes(call.out, [*inputs[:channel], normal(target), *spatial])
    recording.role(weight, *(("in", "out") if transposed else ("out", "in")))
    recording.role(bias, "bias")
    recording.conv_groups = group
    positions = (x if transposed else call.out).shape[channel + 1 :]
    batch = x.shape[0] if batched else 1
    recording.cost(batch * weight.shape[2:].numel() * positions.numel(), (w[0], w[1]))


def _mark_groups(recording: Recording, group: Node, out_per_group: int, in_per_group: int) -> None:
    """Depthwise groups are the channels themselves; any other group count is frozen unless asked for."""
    if out_per_group > 1 and in_per_group > 1:
        recording.algebra.mark(
            group, CONV_GROUPS, f"the number of groups of the convolution {recording.where}"
        )


def _like_spatial(recording: Recording, node: Node, size: int) -> Node:
    recording.algebra.pin(node, "spatial positions")
    return fixed(size, "spatial positions")


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
    """Per-channel statistics: dimension 1 is shared with gamma, beta and the running statistics."""
    x, weight, bias = call.args[0], call.args[1], call.args[2]
    axes = recording.axes(x)
    statistics = [t for t in call.args[3:5] if isinstance(t, Tensor)]
    _channel_parameters(recording, axes[1], weight, bias, *statistics)
    _set_first(recording, call, axes)
    recording.cost(2 if weight is not None else 1, axes, is_product=False)


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
        freeze_heads(recording, a[0])
    recording.role(right, "in", "out")
    recording.set_axes(out, [normal(node) for node in (*a[:-1], b[-1])])
    recording.cost(1, (*a[:-1], a[-1], b[-1]))


def freeze_heads(recording: Recording, batch: Node) -> None:
    """Unpinned axes in the batch of a matrix product count how often it is done: attention heads and their
    kin.
    """
    recording.algebra.mark(batch, HEADS, f"the number of heads in {recording.where}")


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


@register_operator(
    "aten.softmax", "aten._softmax", "aten._safe_softmax", "aten._log_softmax", "aten.logcumsumexp"
)
def softmax(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    recording.algebra.mark(axes[call.args[1]], VALUE_CHANGING, "a softmax runs over it")
    recording.set_axes(call.out, axes)


_REDUCTIONS = {
    "aten.sum": "a sum runs over it",
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
    "aten.cumsum", "aten.cumprod", "aten.flip", "aten.roll", "aten.sort", "aten.tril", "aten.triu"
)
def order_matters(recording: Recording, call: Call) -> None:
    """Position matters along some dimensions: those keep all their indices."""
    axes = recording.axes(call.args[0])
    if call.name in ("aten.tril", "aten.triu"):
        dims: Sequence[int] = (-2, -1)
    else:
        argument = call.get(2 if call.name == "aten.roll" else 1, -1)
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
            _like_spatial(recording, node, size)
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
        names += [f"upsample_{kind}" for kind in resizes] + [f"_upsample_nearest_exact{count}d"]
        names += [f"_upsample_{kind}_aa" for kind in resizes if kind.startswith("bi")]

        def rule(recording: Recording, call: Call, count: int = count) -> None:
            spatial(recording, call, count)
            if call.name in ("aten.upsample_nearest2d", "aten.upsample_bilinear2d"):
                scale = 4 if "bilinear" in call.name else 1
                recording.cost(scale, recording.axes(call.out), is_product=False)

        register_operator(*(f"aten.{name}" for name in names))(rule)


_register_spatial()


@register_operator("aten.grid_sampler_2d", "aten.grid_sampler")
def grid_sampler(recording: Recording, call: Call) -> None:
    axes = recording.axes(call.args[0])
    for node in (*axes[2:], *recording.axes(call.args[1])):
        recording.algebra.pin(node, "spatial positions")
    tail = [fixed(size, "spatial positions") for size in call.out.shape[2:]]
    recording.set_axes(call.out, [*axes[:2], *tail])
    recording.cost(4, recording.axes(call.out), is_product=False)


def torch_tag_says_pointwise(func: torch._ops.OpOverload) -> bool:
    """Whether torch itself, or our list of what it forgot, calls an operator pointwise."""
    name = func.overloadpacket.__name__.rstrip("_")
    if torch.Tag.pointwise in func.tags or name in _FORGOTTEN:
        return True
    plain = getattr(torch.ops.aten, name, None) if func.namespace == "aten" else None
    return plain is not None and any(
        torch.Tag.pointwise in getattr(plain, overload).tags for overload in plain.overloads()
    )


_FORGOTTEN = frozenset(
    name
    for line in (
        "hardswish hardsigmoid hardtanh relu relu6 silu mish gelu elu selu celu leaky_relu rrelu softplus",
        "threshold prelu _prelu_kernel clamp clamp_min clamp_max log_sigmoid_forward add mul sub div",
        "clone detach alias _to_copy contiguous lift_fresh lift copy fill zero where masked_fill",
        "native_dropout dropout bernoulli logical_not bitwise_not nan_to_num",
        "rrelu_with_noise zeros_like ones_like empty_like full_like rand_like randn_like",
        "uniform normal random exponential positive",
    )
    for name in line.split()
)

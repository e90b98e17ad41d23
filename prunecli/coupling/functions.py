"""What has to be seen above the operators: numbers written in ``forward``, roles of parameters, attention.

A handler has the form ``handler(recording, func, args, kwargs)`` and returns what the function returns. It
runs the function (whose operators are then seen by the rules) and pairs the numbers it was given with the
axes they came to name. Functions without a handler are run as they are; a traced number they are given must
keep its value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everybody uses)

from prunecli.coupling.algebra import Node, concat, is_pinned, normal
from prunecli.coupling.integers import TracedInt
from prunecli.coupling.operators import VALUE_CHANGING, freeze_heads
from prunecli.coupling.recording import Recording, empty_stand_in, numbers_in

Handler = Callable[[Recording, Any, tuple[Any, ...], dict[str, Any]], Any]
HANDLERS: dict[Any, Handler] = {}


def handles(*functions: Any) -> Callable[[Handler], Handler]:
    """Register a handler for functions as ``__torch_function__`` names them. Duplicates raise
    ``ValueError``.
    """

    def add(handler: Handler) -> Handler:
        for function in functions:
            if function in HANDLERS:
                raise ValueError(f"{function} already has a handler")
            HANDLERS[function] = handler
        return handler

    return add


def plain(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Any other function: traced numbers given to it must keep their values."""
    for value in (*args, *kwargs.values()):
        kind = type(value)
        if kind is TracedInt or kind in (tuple, list, torch.Size, slice):
            for number in numbers_in(value):
                recording.integers.fix(number, f"as an argument of {getattr(func, '__name__', func)}")
    return func(*args, **kwargs)


@handles(torch.Tensor.shape.__get__)  # type: ignore[attr-defined]
def shape(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return _traced_size(recording, args[0], func(*args))


@handles(torch.Tensor.size)
def size(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if len(args) == 1 and not kwargs:
        return _traced_size(recording, args[0], func(*args))
    dim = int(args[1] if len(args) > 1 else kwargs["dim"])
    return _traced_size(recording, args[0], args[0].shape)[dim]


@handles(torch.Tensor.numel, torch.numel)
def numel(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return math.prod(_traced_size(recording, args[0], args[0].shape))


def _traced_size(recording: Recording, tensor: Tensor, sizes: torch.Size) -> Any:
    if not recording.is_traced(tensor):
        return sizes
    nodes = recording.axes(tensor)
    if all(is_pinned(node) for node in nodes):
        return sizes
    return torch.Size(
        [
            s if is_pinned(node) else recording.integers.size(node)
            for s, node in zip(sizes, nodes, strict=True)
        ]
    )


def _flat(arguments: Sequence[Any]) -> list[Any]:
    first = arguments[0] if arguments else ()
    return list(first) if isinstance(first, (tuple, list, torch.Size)) else list(arguments)


@handles(torch.Tensor.view, torch.Tensor.reshape, torch.reshape, torch.Tensor.expand)
def view(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    sizes = _flat(args[1:]) or list(next(iter(kwargs.values()), ()))
    if all(isinstance(s, int) for s in sizes):
        source = args[0]
        offset = len(sizes) - source.dim()
        repeated = func is torch.Tensor.expand
        for position, (number, node) in enumerate(zip(sizes, recording.axes(result), strict=True)):
            kept = (
                repeated and position >= offset and source.shape[position - offset] == result.shape[position]
            )
            if int(number) != -1 and not (kept and not isinstance(number, TracedInt)):
                recording.pair(number, node)
    return result


@handles(torch.Tensor.unflatten, torch.unflatten)
def unflatten(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    given = dict(zip(("dim", "sizes"), args[1:], strict=False)) | kwargs
    dim, sizes = given["dim"], given["sizes"]
    start = int(dim) % args[0].dim()
    for number, node in zip(sizes, recording.axes(result)[start:], strict=False):
        if int(number) != -1:
            recording.pair(number, node)
    return result


def _by_function(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    recording.sliced_by_function = True
    try:
        return func(*args, **kwargs)
    finally:
        recording.sliced_by_function = False


@handles(torch.Tensor.chunk, torch.chunk)
def chunk(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``chunk(n)`` says that the pieces are equally long, not that they hold the same indices."""
    parts = _by_function(recording, func, args, kwargs)
    dim = int(kwargs.get("dim", args[2] if len(args) > 2 else 0))
    nodes = [recording.axes(part)[dim] for part in parts]
    for number in numbers_in(args[1] if len(args) > 1 else kwargs["chunks"]):
        recording.integers.fix(number, "as a number of chunks")
    for node in nodes[1:]:
        if node.size == nodes[0].size:
            recording.integers.same_size(nodes[0], node)
        else:
            for piece in nodes:
                recording.algebra.pin(
                    piece, f"it is cut into {len(nodes)} uneven chunks in {recording.where}"
                )
    return parts


@handles(torch.Tensor.split, torch.split, torch.Tensor.split_with_sizes)
def split(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parts = _by_function(recording, func, args, kwargs)
    dim = int(kwargs.get("dim", args[2] if len(args) > 2 else 0))
    sizes = next(
        (kwargs[k] for k in ("split_size_or_sections", "split_size", "split_sizes") if k in kwargs), None
    )
    sizes = args[1] if sizes is None else sizes
    if len(parts) > 1:
        nodes = [recording.axes(part)[dim] for part in parts]
        for index, node in enumerate(nodes):
            if not isinstance(sizes, int):
                recording.pair(sizes[index], node)
            elif node.size == int(sizes):
                recording.pair(sizes, node)
            else:
                recording.algebra.pin(node, f"it is the rest of an uneven split in {recording.where}")
    return parts


@handles(torch.Tensor.narrow, torch.narrow)
def narrow(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source, given = args[0], dict(zip(("dim", "start", "length"), args[1:], strict=False)) | kwargs
    result = _by_function(recording, func, args, kwargs)
    if not isinstance(given["start"], Tensor):
        _pair_slice(
            recording, source, result, int(given["dim"]), given["start"], given["start"] + given["length"]
        )
    return result


@handles(torch.Tensor.__getitem__)
def getitem(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    source, key = args
    keys = list(key) if isinstance(key, tuple) else [key]
    if not all(k is None or k is Ellipsis or isinstance(k, (int, slice)) for k in keys):
        return plain(recording, func, args, kwargs)
    result = _by_function(recording, func, args, kwargs)
    consumed = sum(k is not None and k is not Ellipsis for k in keys)
    position = target = 0
    for item in keys:
        if item is None:
            target += 1
        elif item is Ellipsis:
            position += source.dim() - consumed
            target += source.dim() - consumed
        elif isinstance(item, slice):
            if item.step in (None, 1):
                _pair_slice(recording, source, result, position, item.start, item.stop, target)
            position, target = position + 1, target + 1
        else:
            for number in numbers_in(item):
                recording.integers.fix(number, "as an index")
            position += 1
    return result


def _pair_slice(
    recording: Recording,
    source: Tensor,
    result: Tensor,
    dim: int,
    start: Any,
    stop: Any,
    target: int | None = None,
) -> None:
    """Pair the bounds of a slice with the pieces before, in and after it."""
    whole, part = recording.axes(source)[dim], recording.axes(result)[dim if target is None else target]
    if is_pinned(whole) or part.size == whole.size:
        return
    first, last = int(start or 0), int(stop or 0)
    before, rest = recording.algebra.split(whole, first if first >= 0 else whole.size + first)
    _, after = recording.algebra.split(rest, part.size)
    if first:
        recording.pair(start if first > 0 else -start, before if first > 0 else concat((part, after)))
    if stop is not None and after.size:
        recording.pair(stop if last > 0 else -stop, concat((before, part)) if last > 0 else after)


@handles(
    torch.conv1d,
    torch.conv2d,
    torch.conv3d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    torch.conv_transpose3d,
)
def convolution(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    position = 6
    groups = kwargs.get("groups", args[position] if len(args) > position else 1)
    if int(groups) != 1:
        recording.pair(groups, recording.conv_groups)
    return result


@handles(torch.nn.functional.linear)
def linear(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    recording.role(weight, *(("out", "in") if weight.dim() == 2 else ("in",)))
    recording.role(bias, "bias")
    return func(*args, **kwargs)


@handles(F.layer_norm, torch.layer_norm)
def layer_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    sizes = args[1] if len(args) > 1 else kwargs["normalized_shape"]
    for number, node in zip(sizes, recording.axes(result)[-len(sizes) :], strict=True):
        recording.pair(number, node)
    return result


@handles(F.group_norm, torch.group_norm)
def group_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    result = func(*args, **kwargs)
    number = args[1] if len(args) > 1 else kwargs["num_groups"]
    if int(number) > 1:
        recording.pair(number, recording.conv_groups)
    return result


@handles(F.batch_norm, torch.batch_norm, F.embedding, torch.embedding)
def passes(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


@handles(F.instance_norm, torch.instance_norm)
def instance_norm(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Per-channel and per-sample statistics; below it is a batch norm over a reshape, which would be counted
    twice.
    """
    x = args[0]
    given = dict(zip(("running_mean", "running_var", "weight", "bias"), args[1:5], strict=False)) | kwargs
    axes = recording.axes(x)
    for name in ("weight", "bias", "running_mean", "running_var"):
        tensor = given.get(name)
        if isinstance(tensor, Tensor):
            recording.algebra.unify(axes[1], recording.axes(tensor)[0])
            recording.role(tensor, "norm")
    recording.cost(5 if given.get("weight") is not None else 4, axes, is_product=False)
    result = x.clone()
    recording.set_axes(result, [normal(node) for node in axes])
    return result


@handles(F.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d)
def adaptive_avg_pool2d(
    recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    recording.cost(1, recording.axes(args[0]), is_product=False)
    return func(*args, **kwargs)


@handles(F.scaled_dot_product_attention)
def attention(recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``[..., L, E] x [..., S, E] x [..., S, Ev]``; without ``scale`` it divides by sqrt(E), which sees
    every index.
    """
    given = (
        dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), args, strict=False))
        | kwargs
    )
    query, key, value, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
    q, k, v = (recording.axes(tensor) for tensor in (query, key, value))
    algebra = recording.algebra
    algebra.unify(q[-1], k[-1])
    algebra.unify(k[-2], v[-2])
    for index in range(len(q) - 2):
        _unify_batch(recording, q[index], k[index], v[index], bool(given.get("enable_gqa")))
        freeze_heads(recording, q[index])
    if given.get("scale") is None:
        algebra.mark(q[-1], VALUE_CHANGING, "attention is scaled by the size of a head")
    logits = [*q[:-1], k[-2]]
    if isinstance(mask, Tensor):
        for node, other in zip(reversed(logits), reversed(recording.axes(mask)), strict=False):
            if node.size == other.size:
                algebra.unify(node, other)
    recording.cost(1, (*logits, q[-1]))
    recording.cost(1, (*logits, v[-1]))
    if not query.is_meta:
        result = func(*args, **kwargs)
    else:
        result = empty_stand_in((*query.shape[:-1], value.shape[-1]), query)
    recording.set_axes(result, [normal(node) for node in (*q[:-1], v[-1])])
    return result


def _unify_batch(recording: Recording, q: Node, k: Node, v: Node, grouped: bool) -> None:
    recording.algebra.unify(k, v)
    if q.size == k.size:
        recording.algebra.unify(q, k)
    elif grouped:
        pair = recording.algebra.factor(q, k.size)
        if pair is None:
            recording.algebra.pin(q, "query heads cut across key heads")
            recording.algebra.pin(k, "query heads cut across key heads")
        else:
            recording.algebra.unify(pair[0], k)


@handles(F.multi_head_attention_forward)
def multi_head_attention(
    recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``nn.MultiheadAttention`` checks its own sizes: query features == embed_dim == heads x head size."""
    names = (
        "query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias",
        "bias_k", "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias",
    )  # fmt: skip
    given = dict(zip(names, args, strict=False)) | kwargs
    separate = given.get("use_separate_proj_weight")
    inputs = [given[name] for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight")] if separate else [
        given["in_proj_weight"]
    ]  # fmt: skip
    for weight in inputs:
        recording.role(weight, "out", "in")
    recording.role(given.get("in_proj_bias"), "bias")
    recording.role(given["out_proj_weight"], "out", "in")
    recording.role(given.get("out_proj_bias"), "bias")
    plain_args = tuple(int(a) if type(a) is TracedInt else a for a in args)
    plain_kwargs = {k: int(a) if type(a) is TracedInt else a for k, a in kwargs.items()}
    result = _by_function(recording, func, plain_args, plain_kwargs)
    features = recording.axes(given["query"])[-1]
    inner = recording.axes(given["out_proj_weight"])[1]
    recording.pair(given["embed_dim_to_check"], features)
    for axis in (inner, *(recording.axes(weight)[0] for weight in inputs if separate)):
        recording.integers.same_size(features, axis)
    pair = recording.algebra.factor(inner, int(given["num_heads"]))
    if pair is not None:
        recording.pair(given["num_heads"], pair[0])
        freeze_heads(recording, pair[0])
        recording.algebra.mark(pair[1], VALUE_CHANGING, "attention is scaled by the size of a head")
    return result

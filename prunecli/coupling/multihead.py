"""``nn.MultiheadAttention``, which checks and uses sizes of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everybody uses)

from prunecli.coupling.functions import named, register_adapter, unwatched
from prunecli.coupling.nodes import Node, concat, fixed, normal
from prunecli.coupling.operators import VALUE_CHANGING
from prunecli.coupling.products import mark_heads
from prunecli.coupling.recording import Recording

_NAMES = (
    "query key value embed_dim_to_check num_heads in_proj_weight in_proj_bias bias_k bias_v add_zero_attn "
    "dropout_p out_proj_weight out_proj_bias training key_padding_mask need_weights attn_mask "
    "use_separate_proj_weight q_proj_weight k_proj_weight v_proj_weight static_k static_v "
    "average_attn_weights is_causal"
)


@dataclass(frozen=True)
class _Projection:
    """``[..., features] -> [..., inner]`` of the query, the key or the value; ``inner = heads x head``."""

    source: list[Node]
    features: Node
    inner: Node


@register_adapter(F.multi_head_attention_forward)
def multi_head_attention(
    recording: Recording, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """``query [L, N, E]``, ``key [S, N, K]``, ``value [S, N, V]``; inner features == E == heads x head size.

    Query, key and value need not keep the same features of a head, only equally many; query and key do.
    """
    given = named(_NAMES, args, kwargs)
    query, out_weight = given["query"], given["out_proj_weight"]
    weighted = bool(given.get("need_weights", True))
    shapes = [(*query.shape[:-1], out_weight.shape[0])] + [_weights_shape(given)] * weighted
    results = unwatched(recording, func, args, kwargs, shapes)
    if given.get("static_k") is not None or given.get("static_v") is not None:
        traced = [v for v in given.values() if isinstance(v, Tensor) and recording.is_traced(v)]
        recording.pin_all(traced, "it meets keys or values that were given as they are")
    q, k, v = _projections(recording, given)
    heads, head = _heads(recording, given, q, k, v)
    keys = _keys(recording, given, q, k, v)
    _masks(recording, given, [*q.source[1:-1], heads, q.source[0], k.source[0]])
    recording.algebra.unify(recording.axes(out_weight)[1], v.inner)
    if given.get("out_proj_bias") is not None:
        recording.algebra.unify(recording.axes(out_weight)[0], recording.axes(given["out_proj_bias"])[0])
    _roles(recording, given)
    lengths = [*q.source[:-1], keys]
    for projection in (q, k, v):
        recording.cost(1, (*projection.source[:-1], projection.features, projection.inner))
    recording.cost(1, (*lengths, heads, head))
    recording.cost(1, (*lengths, v.inner))
    recording.cost(1, (*q.source[:-1], v.inner, recording.axes(out_weight)[0]))
    recording.set_axes(results[0], [normal(n) for n in (*q.source[:-1], recording.axes(out_weight)[0])])
    if not weighted:
        return results[0], None
    batch = q.source[1:2] if query.dim() == 3 else []
    per_head = [] if given.get("average_attn_weights", True) else [heads]
    if not per_head:
        recording.algebra.mark(heads, VALUE_CHANGING, "the weights of an attention are averaged over it")
    recording.set_axes(results[1], [normal(n) for n in (*batch, *per_head, q.source[0], keys)])
    return results[0], results[1]


def _weights_shape(given: Mapping[str, Any]) -> tuple[int, ...]:
    query, key = given["query"], given["key"]
    more = (given.get("bias_k") is not None) + bool(given.get("add_zero_attn"))
    batch = query.shape[1:-1]
    per_head = () if given.get("average_attn_weights", True) else (int(given["num_heads"]),)
    return (*batch, *per_head, query.shape[0], key.shape[0] + more)


def _projections(recording: Recording, given: Mapping[str, Any]) -> list[_Projection]:
    """The three input projections; packed in one weight ``[3 E, E]`` or with one each ``[E, K]``."""
    algebra, sources = recording.algebra, [recording.axes(given[name]) for name in ("query", "key", "value")]
    size = int(given["embed_dim_to_check"])
    if given.get("use_separate_proj_weight"):
        weights = [recording.axes(given[f"{letter}_proj_weight"]) for letter in "qkv"]
        inner, features = [weight[0] for weight in weights], [weight[1] for weight in weights]
    else:
        rows, columns = recording.axes(given["in_proj_weight"])
        inner, features = algebra.split_all(rows, [size] * 3), [columns] * 3
    if given.get("in_proj_bias") is not None:
        for node, own in zip(
            inner, algebra.split_all(recording.axes(given["in_proj_bias"])[0], [size] * 3), strict=True
        ):
            algebra.unify(node, own)
    for source, node in zip(sources, features, strict=True):
        algebra.unify(source[-1], node)
    return [_Projection(*found) for found in zip(sources, features, inner, strict=True)]


def _heads(
    recording: Recording, given: Mapping[str, Any], q: _Projection, k: _Projection, v: _Projection
) -> tuple[Node, Node]:
    """``heads`` and the size of a head of query and key; the module's sizes are tied to each other."""
    algebra, count = recording.algebra, int(given["num_heads"])
    algebra.unify(q.inner, k.inner)
    recording.pair(given["embed_dim_to_check"], q.source[-1])
    for projection in (q, v):
        recording.integers.same_size(q.source[-1], projection.inner)
    pairs = [algebra.factor(projection.inner, count) for projection in (q, v)]
    if pairs[0] is None or pairs[1] is None:
        for projection in (q, v):
            algebra.pin(projection.inner, "the heads of an attention cut across its features")
        return fixed(count, "heads"), fixed(q.inner.size // count, "the size of a head")
    algebra.unify(pairs[0][0], pairs[1][0])
    heads, head = (normal(node) for node in pairs[0])
    recording.pair(given["num_heads"], heads)
    mark_heads(recording, heads, head, pairs[1][1])
    algebra.mark(head, VALUE_CHANGING, "attention is scaled by the size of a head")
    return heads, head


def _keys(
    recording: Recording, given: Mapping[str, Any], q: _Projection, k: _Projection, v: _Projection
) -> Node:
    """The axis that the softmax runs over: the keys, and what the module adds to them."""
    algebra, keys, batched = recording.algebra, k.source[0], len(k.source) == 3
    algebra.unify(keys, v.source[0])
    algebra.mark(keys, VALUE_CHANGING, "a softmax runs over it")
    if batched:
        algebra.unify(q.source[1], k.source[1])
        algebra.unify(k.source[1], v.source[1])
        mark_heads(recording, q.source[1])
    for name, projection in (("bias_k", k), ("bias_v", v)):
        if given.get(name) is not None:
            algebra.unify(recording.axes(given[name])[-1], projection.inner)
            recording.role(given[name], "other", "other", "other")
    more = (given.get("bias_k") is not None) + bool(given.get("add_zero_attn"))
    return concat((keys, fixed(more, "keys that the module adds"))) if more else normal(keys)


def _masks(recording: Recording, given: Mapping[str, Any], logits: list[Node]) -> None:
    """``attn_mask`` ``[L, S]`` or one per sample and head; ``key_padding_mask`` ``[N, S]``."""
    mask, padding = given.get("attn_mask"), given.get("key_padding_mask")
    if isinstance(mask, Tensor):
        for node, other in zip(logits[-2:], recording.axes(mask)[-2:], strict=True):
            recording.algebra.unify(node, other)
        for node in (*logits[:-2], recording.axes(mask)[0]) if mask.dim() == 3 else ():
            recording.algebra.pin(node, "an attention has a mask per sample and head")
    if isinstance(padding, Tensor):
        own = (*logits[:-3], logits[-1])
        for node, other in zip(own, recording.axes(padding), strict=True):
            recording.algebra.unify(node, other)


def _roles(recording: Recording, given: Mapping[str, Any]) -> None:
    for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj_weight"):
        recording.role(given.get(name), "out", "in")
    for name in ("in_proj_bias", "out_proj_bias"):
        recording.role(given.get(name), "bias")

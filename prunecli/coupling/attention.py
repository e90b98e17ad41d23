"""Fused attention, which uses sizes of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (the name everybody uses)
from torch.utils._mode_utils import no_dispatch

from prunecli.coupling.functions import register_adapter
from prunecli.coupling.nodes import Node, normal
from prunecli.coupling.operators import REPEATED, VALUE_CHANGING
from prunecli.coupling.products import mark_heads
from prunecli.coupling.recording import Recording, empty_stand_in


@register_adapter(F.scaled_dot_product_attention)
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
        mark_heads(recording, q[index], q[-1], v[-1])
    if given.get("scale") is None:
        algebra.mark(q[-1], VALUE_CHANGING, "attention is scaled by the size of a head")
    algebra.mark(k[-2], VALUE_CHANGING, "a softmax runs over it")
    logits = [*q[:-1], k[-2]]
    if isinstance(mask, Tensor):
        for node, other in zip(reversed(logits), reversed(recording.axes(mask)), strict=False):
            if node.size == other.size:
                algebra.unify(node, other)
    recording.cost(1, (*logits, q[-1]))
    recording.cost(1, (*logits, v[-1]))
    if not query.is_meta:
        # What it is made of has no rules; all there is to say of it was said above.
        with no_dispatch():
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
            recording.algebra.mark(pair[1], REPEATED, f"query heads of one key head in {recording.where}")

"""Multiply-adds of the operators that fvcore skips, in the form its counter takes them.

A handle gets the inputs and outputs of one node of a traced graph and returns how many multiply-adds it is.
Sizes are those of the tensors; biases, activations and gates are not counted, as fvcore does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

Handle = Callable[[list[Any], list[Any]], int]


def _sizes(value: Any) -> list[int]:
    return list(value.type().sizes())


def _listed(value: Any) -> list[Any]:
    return list(value.node().inputs())


def _integers(value: Any) -> list[int] | None:
    """A list of numbers, or None: written out in the graph, or a constant of it."""
    if value.node().kind() == "prim::ListConstruct":
        return [int(item.toIValue()) for item in _listed(value)]
    constant = value.toIValue()
    return None if constant is None else [int(number) for number in constant]


def attention(inputs: list[Any], outputs: list[Any]) -> int:
    """``[..., L, E] x [..., S, E]`` and ``[..., L, S] x [..., S, Ev]``: batch x L x S x (E + Ev)."""
    query, key, value = (_sizes(item) for item in inputs[:3])
    return prod(query[:-2]) * query[-2] * key[-2] * (query[-1] + value[-1])


def recurrent(inputs: list[Any], outputs: list[Any]) -> int:
    """Every weight matrix once per step: ``lstm``, ``gru`` and ``rnn`` over padded or packed sequences."""
    lists = [item for item in inputs if item.node().kind() == "prim::ListConstruct"]
    weights = [_sizes(item) for item in _listed(lists[-1])]
    steps = prod(_sizes(inputs[0])[:-1])
    return steps * sum(prod(size) for size in weights if len(size) == 2)


def cell(inputs: list[Any], outputs: list[Any]) -> int:
    """Both weight matrices of a recurrent cell, once per sample."""
    weights = [_sizes(item) for item in inputs[2:4]]
    return prod(_sizes(inputs[0])[:-1]) * sum(prod(size) for size in weights)


def batched_product(inputs: list[Any], outputs: list[Any]) -> int:
    """``baddbmm``: ``[B, N, M] x [B, M, P]``."""
    return prod(_sizes(inputs[1])) * _sizes(inputs[2])[-1]


def vector_product(inputs: list[Any], outputs: list[Any]) -> int:
    """``mv``: ``[N, M] x [M]``."""
    return prod(_sizes(inputs[0]))


def bilinear(inputs: list[Any], outputs: list[Any]) -> int:
    """``[..., I] x [O, I, J] x [..., J]``, counted as the product with all of the weight."""
    return prod(_sizes(inputs[0])[:-1]) * prod(_sizes(inputs[2]))


def named_padding(inputs: list[Any], outputs: list[Any]) -> int:
    """A convolution whose padding is ``same`` or ``valid``: each output reads a kernel of its group."""
    return prod(_sizes(outputs[0])) * prod(_sizes(inputs[1])[1:])


def tensordot(inputs: list[Any], outputs: list[Any]) -> int:
    """Both operands whole, the summed dimensions once."""
    left, right = _sizes(inputs[0]), _sizes(inputs[1])
    return prod(left) * prod(right) // prod(left[dim] for dim in _integers(inputs[2]) or ())


def einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """The products that torch makes of it, pair by pair; multiplying without a sum is not counted."""
    sources, _, result = inputs[0].toIValue().replace(" ", "").partition("->")
    path = _integers(inputs[2]) if len(inputs) > 2 else None
    operands = [
        _lettered(letters, _sizes(item))
        for letters, item in zip(sources.split(","), _listed(inputs[1]), strict=True)
    ]
    wanted = set(result) if "->" in inputs[0].toIValue() else _once(sources)
    if "." in wanted:
        wanted |= {letter for operand in operands for letter in operand if letter.isdigit()}
    total = 0
    while len(operands) > 1:
        first, second = sorted(path[:2]) if path else (0, 1)
        path = path[2:] if path else None
        right, left = operands.pop(second), operands.pop(first)
        alive = wanted.union(*operands)
        own, other = ({k: n for k, n in pair.items() if k in alive or k in rest}
                      for pair, rest in ((left, right), (right, left)))  # fmt: skip
        both = {k: max(own.get(k, 1), other.get(k, 1)) for k in own | other}
        total += prod(both.values()) if both.keys() - alive else 0
        operands.append({k: n for k, n in both.items() if k in alive})
    return total


def _lettered(letters: str, sizes: Sequence[int]) -> dict[str, int]:
    """Sizes by letter; the dimensions of an ellipsis are numbered from the right."""
    before, ellipsis, after = letters.partition("...")
    if not ellipsis:
        return dict(zip(letters, sizes, strict=True))
    hidden = [str(number) for number in range(len(sizes) - len(before) - len(after), 0, -1)]
    return dict(zip([*before, *hidden, *after], sizes, strict=True))


def _once(sources: str) -> set[str]:
    """Without ``->`` the result has what an ellipsis hides, and the letters that stand only once."""
    letters = sources.replace(",", "")
    return {letter for letter in letters if letter == "." or letters.count(letter) == 1}


HANDLES: dict[str, Handle] = {
    "aten::scaled_dot_product_attention": attention,
    **{f"aten::{name}": recurrent for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    **{f"aten::{name}_cell": cell for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    "aten::baddbmm": batched_product,
    "aten::mv": vector_product,
    "aten::bilinear": bilinear,
    "aten::_convolution_mode": named_padding,
    "aten::tensordot": tensordot,
    "aten::einsum": einsum,
}
"""By operator, as traced graphs name them. einsum replaces fvcore's own, which counts half a multiply-add for
each product without a sum."""

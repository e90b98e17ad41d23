"""Where rules of ATen operators are kept: which axes of arguments and results are the same.

A rule has the form ``rule(recording, call)`` and sets the axes of ``call.out``. An operator without a rule
that is not pointwise either pins every axis it touches and is listed in the report: ignorance costs
compression, never correctness. :func:`register_operator` adds a rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from prunecli.coupling.nodes import ONE, Node, fixed, fresh, is_pinned, normal
from prunecli.coupling.recording import Recording, tensors_in

VALUE_CHANGING = "value-changing"
HEADS = "heads"
KV_HEADS = "kv heads"
QUERY_HEADS = "query heads"
HEAD_DIMENSION = "head dimension"
REPEATED = "repeated"
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
    ``ValueError``; the same rule of a file that is imported again takes its own place.
    """

    def add(rule: Rule) -> Rule:
        for name in names:
            if name in RULES and defined_at(RULES[name]) != defined_at(rule):
                raise ValueError(f"operator {name} already has a rule")
            RULES[name] = rule
        return rule

    return add


def defined_at(function: Callable[..., Any]) -> object:
    """What stays the same when the file of ``function`` is run again."""
    code = getattr(function, "__code__", None)
    return function if code is None else (code.co_filename, code.co_qualname)


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


def fixed_positions(recording: Recording, node: Node, size: int) -> Node:
    recording.algebra.pin(node, "spatial positions")
    return fixed(size, "spatial positions")


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
        "uniform normal random exponential positive log_normal cauchy geometric poisson randint_like",
        "_conj _neg_view complex polar floor_divide _pin_memory _masked_scale",
    )
    for name in line.split()
)

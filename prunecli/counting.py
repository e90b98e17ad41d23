"""MACs as fvcore counts them: one multiply-add is 1.

fvcore is the reported counter, with a handler for attention, which it skips. Where it cannot trace a
network, torch's ``FlopCounterMode`` stands in, halved (it counts 2 per multiply-add), and the caller adds
what that leaves out; ``Count.counter`` says which.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Count:
    """Multiply-adds of one forward: in all, and per module ('' is the network) **including** its children.

    ``unsupported`` maps operators that ``counter`` skipped to how often they ran.
    """

    total: int
    by_module: dict[str, int]
    counter: Literal["fvcore", "torch"]
    unsupported: dict[str, int]


def count(module: nn.Module, inputs: Sequence[Any], left_out: int = 0) -> Count:
    """Count ``module(*inputs)``. ``inputs`` are real tensors; the module is run once, as it is.

    ``left_out`` is what torch's counter does not see (norms, pooling, resizing), added where it stands in.
    """
    with warnings.catch_warnings(), _quiet_fast_path():
        warnings.simplefilter("ignore")
        try:
            return _by_fvcore(module, tuple(inputs))
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
            return _by_torch(module, tuple(inputs), left_out)


def _by_fvcore(module: nn.Module, inputs: tuple[Any, ...]) -> Count:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, inputs)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    by_module = {name: int(macs) for name, macs in analysis.by_module().items()}
    unsupported = {str(name): int(times) for name, times in sorted(analysis.unsupported_ops().items())}
    return Count(int(analysis.total()), by_module, "fvcore", unsupported)


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """``[..., L, E] x [..., S, E]`` and ``[..., L, S] x [..., S, Ev]``: batch x L x S x (E + Ev)."""
    query, key, value = (item.type().sizes() for item in inputs[:3])
    return int(prod(query[:-2]) * query[-2] * key[-2] * (query[-1] + value[-1]))


def _by_torch(module: nn.Module, inputs: tuple[Any, ...], left_out: int) -> Count:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    root = type(module).__name__
    by_module = {
        "" if name in ("Global", root) else name.removeprefix(f"{root}."): sum(flops.values()) // 2
        for name, flops in counter.get_flop_counts().items()
    }
    total = counter.get_total_flops() // 2 + left_out
    return Count(total, by_module | {"": total}, "torch", {})


@contextmanager
def _quiet_fast_path() -> Iterator[None]:
    """Fused attention hides its products from both counters; fvcore's loggers write to stderr."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        torch.backends.mha.set_fastpath_enabled(fast_path)


def sizes_of(module: nn.Module, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Number of parameter elements, and bytes of the tensors of a state_dict."""
    params = sum(parameter.numel() for parameter in module.parameters())
    return params, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

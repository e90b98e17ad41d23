"""MACs as fvcore counts them: one multiply-add is 1.

fvcore is the reported counter, with handles for what it skips (attention, recurrent layers). Where it cannot
trace a network, torch's ``FlopCounterMode`` stands in, halved (it counts 2 per multiply-add), and the caller
adds what that leaves out; ``Count.counter`` says which.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunecli.assembly import without_fast_path
from prunecli.coupling.recording import outputs_in
from prunecli.handles import HANDLES
from prunecli.inputs import Inputs


@dataclass(frozen=True)
class Count:
    """Multiply-adds of one forward: in all, and per module ('' is the network) **including** its children.

    ``unsupported`` maps operators that ``counter`` skipped to how often they ran.
    """

    total: int
    by_module: dict[str, int]
    counter: Literal["fvcore", "torch"]
    unsupported: dict[str, int]


class _Flat(nn.Module):
    """``network`` with a flat tuple of tensors in and out, which is all that fvcore's tracing takes."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.network = network
        self._inputs = inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        values = iter(tensors)
        return tuple(outputs_in(self._inputs.map(lambda _: next(values)).run(self.network)))


_INSIDE = "network"


def count(module: nn.Module, inputs: Inputs | Sequence[Any], left_out: int = 0) -> Count:
    """Count one run of ``module`` on ``inputs`` (real tensors); it is run once, as it is.

    ``left_out`` is what torch's counter does not see (norms, pooling, resizing), added where it stands in.
    """
    with warnings.catch_warnings(), _quiet_fast_path():
        warnings.simplefilter("ignore")
        try:
            return _by_fvcore(module, Inputs.of(inputs))
        except (RuntimeError, TypeError, ValueError, AttributeError, LookupError, NotImplementedError):
            return _by_torch(module, Inputs.of(inputs), left_out)


def _by_fvcore(module: nn.Module, inputs: Inputs) -> Count:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(_Flat(module, inputs).eval(), tuple(inputs.tensors))
    for operator, handle in HANDLES.items():
        analysis.set_op_handle(operator, handle)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    by_module = {
        name.removeprefix(_INSIDE).removeprefix("."): int(macs)
        for name, macs in analysis.by_module().items()
        if name
    }
    unsupported = {str(name): int(times) for name, times in sorted(analysis.unsupported_ops().items())}
    return Count(int(analysis.total()), by_module, "fvcore", unsupported)


def _by_torch(module: nn.Module, inputs: Inputs, left_out: int) -> Count:
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Fused recurrent layers and (before torch 2.15) fused attention on a CPU hide their products from it.
    fused, attention = torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH)
    with torch.no_grad(), fused, attention, FlopCounterMode(display=False) as counter:
        inputs.run(module)
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
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with without_fast_path():
            yield
    finally:
        logging.disable(disabled)


def sizes_of(module: nn.Module, tensors: dict[str, Tensor]) -> tuple[int, int]:
    """Number of parameter elements, and bytes of the tensors of a state_dict."""
    params = sum(parameter.numel() for parameter in module.parameters())
    return params, sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

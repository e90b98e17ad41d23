"""Gradients of the loss: of all samples together, of each, and once more of those.

Gradients of single samples come from ``torch.func.vmap`` over a chunk; where an operator of the network does
not go through that, from one backward pass per sample, which the notes say. A chunk is as large as memory
allows, by what one sample keeps for its backward pass, so that it is the same on every machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from prunecli.assembly import all_tensors
from prunecli.criteria.passes import MOST, Chunk, Passes
from prunecli.errors import ImpossibleError, InputError, first_line
from prunecli.losses import Loss, Targets
from prunecli.proofs import FORWARD_ERRORS

Sums = dict[str, Tensor]
Singles = Callable[[Sums], Mapping[str, Tensor]]
"""What is made of the gradients ``[c, *shape]`` of the samples of one chunk, by name."""


@dataclass(frozen=True)
class Gradients:
    """Passes of one network with one loss. ``memory`` in bytes bounds what a chunk keeps."""

    passes: Passes
    loss: Loss
    memory: int

    def mean(self) -> Sums:
        """The gradient of the mean loss: float64, of every parameter that is floating.

        Raises ``InputError`` for a loss that is not finite, ``ImpossibleError`` for a gradient that is zero
        everywhere.
        """
        chunks = self.passes.chunked(self._size(1))
        with _differentiable():
            total = _added(self.passes.each("gradients", self._gradient, chunks))
        return not_zero(_divided(total, len(self.passes.samples)))

    def curvature(self, gradient: Mapping[str, Tensor]) -> Sums:
        """The Hessian of the mean loss times ``gradient``."""
        along = {name: value.to(self.passes.dtype) for name, value in gradient.items()}
        chunks = self.passes.chunked(self._size(3))
        with _differentiable():
            found = self.passes.each("curvature", lambda chunk: self._twice(chunk, along), chunks)
            return _divided(_added(found), len(self.passes.samples))

    def singles(self, look: Singles) -> Sums:
        """The mean over all samples of what ``look`` makes of their gradients (their sum over a chunk).

        ``look`` may be called from several threads.
        """
        own = sum(p.numel() * p.element_size() for p in _parameters(self.passes.network).values())
        size = self._size(1, extra=3 * own)
        single = self._one_by_one
        with _differentiable():
            if size > 1 and self._goes_through_vmap():
                single = self._vmapped
            chunks = self.passes.chunked(size if single == self._vmapped else 1)
            found = _added(self.passes.each("gradients of samples", lambda c: look(single(c)), chunks))
        return _divided(found, len(self.passes.samples))

    def _gradient(self, chunk: Chunk) -> Sums:
        network, parameters = self._prepared()
        with torch.enable_grad():
            value = self._value(network, chunk)
            return _gradients(value, parameters)

    def _one_by_one(self, chunk: Chunk) -> Sums:
        return {name: value.unsqueeze(0) for name, value in self._gradient(chunk).items()}

    def _twice(self, chunk: Chunk, along: Mapping[str, Tensor]) -> Sums:
        network, parameters = self._prepared()
        with torch.enable_grad():
            value = self._value(network, chunk)
            first = torch.autograd.grad(
                value, list(parameters.values()), create_graph=True, allow_unused=True
            )
            product = torch.zeros((), dtype=value.dtype, device=value.device)
            for name, found in zip(parameters, first, strict=True):
                if found is not None and found.requires_grad:
                    product = product + (found * along[name]).sum()
            if not product.requires_grad:
                return {name: torch.zeros_like(p) for name, p in parameters.items()}
            try:
                if chunk.index == 0:
                    _require_differentiable(product)
                return _gradients(product, parameters)
            except RuntimeError as error:
                raise InputError(
                    f"the network has no second derivatives: {first_line(error)}",
                    "a criterion that needs only gradients, like --criterion taylor",
                ) from error

    def _vmapped(self, chunk: Chunk) -> Sums:
        network, parameters = self._prepared(requires_grad=False)
        targets = self._targets_of(chunk)
        inputs = chunk.batch.inputs

        def value(weights: Mapping[str, Tensor], given: Sequence[Tensor], wanted: Targets) -> Tensor:
            one = iter(given)
            arguments = inputs.map(lambda _: next(one).unsqueeze(0))
            called: Any = lambda *args, **named: functional_call(network, dict(weights), args, named)  # noqa: E731
            return self.loss.value(arguments.run(called), tuple(t.unsqueeze(0) for t in wanted), 1)

        gradients = vmap(grad(value), in_dims=(None, 0, 0))(parameters, tuple(inputs.tensors), targets)
        _require_finite(gradients, chunk)
        return dict(gradients)

    def _goes_through_vmap(self) -> bool:
        """Whether it does for the first two samples; if not, the notes say why."""
        chunk = self.passes.chunked(2)[0]
        if chunk.batch.whole or len(chunk.batch) < 2:
            return False
        try:
            with torch.no_grad():
                self._vmapped(chunk)
        except FORWARD_ERRORS as error:
            # Those that have nothing to do with vmap are met once more on the other way.
            self.passes.notes.append(
                f"gradients of single samples were taken one sample at a time: {first_line(error)}"
            )
            return False
        return True

    def _prepared(self, requires_grad: bool = True) -> tuple[nn.Module, Sums]:
        network = self.passes.copy()
        parameters = _parameters(network)
        for parameter in parameters.values():
            parameter.requires_grad_(requires_grad)
        return network, parameters

    def _value(self, network: nn.Module, chunk: Chunk) -> Tensor:
        with _ContiguousNorms():
            outputs = chunk.batch.inputs.run(network)
        with torch.no_grad():
            targets = self.loss.targets(outputs, chunk.batch, chunk.first)
        value = self.loss.value(outputs, targets, len(chunk.batch))
        if not bool(value.isfinite()):
            raise InputError(
                f"the loss is {'NaN' if bool(value.isnan()) else 'infinite'} on {chunk.told}",
                "check --data and --transform, or another --loss",
            )
        if not value.requires_grad:
            raise ImpossibleError("the loss does not depend on the weights", "another --loss")
        return value

    def _targets_of(self, chunk: Chunk) -> Targets:
        with torch.no_grad():
            outputs = chunk.batch.inputs.run(self.passes.copy())
            return self.loss.targets(outputs, chunk.batch, chunk.first)

    def _size(self, times: int, extra: int = 0) -> int:
        """As many samples as fit, of which one takes ``times`` its graph and ``extra`` bytes."""
        kept = self._kept_for_backward()
        fitting = self.memory // max(1, times * kept + extra)
        size = int(max(1, min(MOST, fitting)))
        return size if size == 1 or self._runs_on_several() else 1

    def _kept_for_backward(self) -> int:
        """Bytes that one sample's forward keeps, besides the weights that are there anyway."""
        network, _ = self._prepared()
        chunk = self.passes.chunked(1)[0]
        there = {tensor.untyped_storage().data_ptr() for tensor in all_tensors(network).values()}
        sizes: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in there:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        def run(_: Chunk) -> None:
            with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                chunk.batch.inputs.run(network)

        list(self.passes.each("memory", run, [chunk]))
        return sum(sizes.values())

    def _runs_on_several(self) -> bool:
        chunk = self.passes.chunked(2)[0]
        if chunk.batch.whole or len(chunk.batch) < 2:
            return False
        try:
            with torch.no_grad():
                chunk.batch.inputs.run(self.passes.copy())
        except FORWARD_ERRORS:
            self.passes.notes.append("samples went through the network one at a time: it takes no more")
            return False
        return True


class _ContiguousNorms(TorchFunctionMode):
    """Batch norms get contiguous gradients. Of one sample alone, with its dimensions transposed behind the
    norm, torch 2.14 computes wrong ones on a CPU: the strides of such a gradient look like channels-last.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (torch.batch_norm, functional.batch_norm) and out.requires_grad:
            out.register_hook(Tensor.contiguous)
        return out


@contextmanager
def _differentiable() -> Iterator[None]:
    """Attention in plain operators: the fused ones cannot be differentiated twice, nor vmapped."""
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # Operators without a rule for vmap are slower there; nothing the user can act upon.
        warnings.filterwarnings("ignore", "There is a performance drop")
        yield


def _parameters(network: nn.Module) -> Sums:
    """Every floating parameter, shared ones under their first name."""
    return {name: p for name, p in network.named_parameters() if p.is_floating_point()}


def _gradients(value: Tensor, parameters: Mapping[str, Tensor]) -> Sums:
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient.detach()
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }


def _require_differentiable(value: Tensor) -> None:
    """Raises ``RuntimeError`` for a function that may be differentiated once only: asked for gradients of
    given tensors, torch passes by what refuses, and what lacks then goes unseen.
    """
    waiting, met = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        if node.name() == "torch::autograd::Error":
            raise RuntimeError("one of its functions may be differentiated once only")
        waiting.extend(following for following, _ in node.next_functions)


def _require_finite(gradients: Mapping[str, Tensor], chunk: Chunk) -> None:
    for name, gradient in gradients.items():
        if not bool(gradient.isfinite().all()):
            raise InputError(
                f"the gradient of '{name}' is NaN or infinite on {chunk.told}",
                "check --data and --transform, or another --loss",
            )


def _added(parts: Iterator[Mapping[str, Tensor]]) -> Sums:
    """The sums by name, in float64 and in order."""
    total: Sums = {}
    for part in parts:
        for name, value in part.items():
            if name in total:
                total[name] += value
            else:
                total[name] = value.to(torch.float64, copy=True)
    return total


def _divided(total: Sums, by: int) -> Sums:
    return {name: value.div_(by) for name, value in total.items()}


def not_zero(gradient: Sums) -> Sums:
    """``gradient`` itself. Raises ``ImpossibleError`` where it ranks nothing."""
    if not any(bool(value.any()) for value in gradient.values()):
        raise ImpossibleError(
            "the gradient of the loss is zero everywhere, so it ranks nothing",
            "labelled --data, or another --loss or --criterion",
        )
    return gradient

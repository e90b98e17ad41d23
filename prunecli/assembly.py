"""Modules from modules: the same structure around other tensors."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_SHARED = frozenset((int, float, bool, str, type(None), bytes, torch.dtype, torch.device, type))


def all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer (also those outside the state_dict) by its name; tied ones under each."""
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return found | dict(module.named_buffers(remove_duplicate=False))


def named_once(module: nn.Module) -> dict[str, Tensor]:
    """The state_dict with shared parameters under their first name only."""
    once = dict(module.named_parameters())
    shared = {name for name, _ in module.named_parameters(remove_duplicate=False)} - once.keys()
    return {name: tensor for name, tensor in module.state_dict().items() if name not in shared}


def same_along(tensor: Tensor, dim: int) -> bool:
    """Whether all slices of ``tensor`` along ``dim`` are the same, bit by bit: any selection of them is then
    the first few.
    """
    if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided or not tensor.numel():
        return False

    def repeated(count: int) -> bool:
        plain = tensor.detach().resolve_conj().resolve_neg()
        rows = plain.narrow(dim, 0, count).movedim(dim, 0).reshape(count, -1)
        # A copy: what torch calls contiguous may have any stride where there is one index.
        bits = rows.clone(memory_format=torch.contiguous_format).view(torch.uint8)
        return bool((bits == bits[:1]).all())

    # Most tables differ at once, and some are large.
    return repeated(min(2, tensor.shape[dim])) and repeated(tensor.shape[dim])


def shortened(tensor: Tensor, shape: Sequence[int]) -> Tensor | None:
    """The first indices of ``tensor``, ``shape`` of them, or None where others could have been meant."""
    if tensor.dim() != len(shape):
        return None
    for dim, (size, old) in enumerate(zip(shape, tensor.shape, strict=True)):
        if size > old or (size < old and not same_along(tensor, dim)):
            return None
    for dim, size in enumerate(shape):
        tensor = tensor.narrow(dim, 0, size)
    return tensor.clone()


def rebuilt(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A copy of ``module`` whose parameters and buffers are ``tensors``, of whatever size; no weight is
    copied.

    Shared parameters stay shared (under the tensor of their first name), submodules with two names too.
    Raises ``KeyError`` for a parameter or buffer that ``tensors`` lacks.
    """
    memo: dict[int, Any] = {}
    for name, old in all_tensors(module).items():
        if id(old) not in memo:
            new = tensors[name].detach()
            memo[id(old)] = (
                nn.Parameter(new, requires_grad=old.requires_grad and new.is_floating_point())
                if isinstance(old, nn.Parameter)
                else new
            )
    result: nn.Module = _copied(module, memo)
    return result


def _copied(module: nn.Module, memo: dict[int, Any]) -> Any:
    """What ``deepcopy`` does, several times as fast where a class leaves copying to Python."""
    if id(module) in memo:
        return memo[id(module)]
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return _copied_script(module, memo)
    if kind.__reduce_ex__ is not object.__reduce_ex__ or hasattr(kind, "__deepcopy__"):
        return copy.deepcopy(module, memo)
    new = memo[id(module)] = kind.__new__(kind)
    state = dict(module.__getstate__())  # type: ignore[no-untyped-call]
    for name, value in state.items():
        state[name] = _copied_attribute(name, value, memo)
    new.__setstate__(state)  # type: ignore[no-untyped-call]
    return new


def _copied_script(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """TorchScript copies its own tensors; ours are then set in their place."""
    new: nn.Module = copy.deepcopy(module)
    for child, twin in zip(module.modules(), new.modules(), strict=True):
        for name, tensor in (*child.named_parameters(recurse=False), *child.named_buffers(recurse=False)):
            setattr(twin, name, memo[id(tensor)])
    memo[id(module)] = new
    return new


def _copied_attribute(name: str, value: Any, memo: dict[int, Any]) -> Any:
    if type(value) in _SHARED:
        return value
    if name == "_modules":
        return {key: None if child is None else _copied(child, memo) for key, child in value.items()}
    if name in ("_parameters", "_buffers"):
        return {key: None if tensor is None else memo[id(tensor)] for key, tensor in value.items()}
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, nn.Module):
        return _copied(value, memo)
    if isinstance(value, Tensor):
        # A constant or a cache of the network; one computed from parameters cannot be deep-copied.
        memo[id(value)] = value.detach()
    elif type(value) in (list, tuple):
        memo[id(value)] = type(value)(_copied_attribute("", item, memo) for item in value)
    elif type(value) in (dict, OrderedDict):
        memo[id(value)] = type(value)((key, _copied_attribute("", item, memo)) for key, item in value.items())
    else:
        return copy.deepcopy(value, memo)
    return memo[id(value)]


def working_copy(
    module: nn.Module, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> nn.Module:
    """A copy in eval mode with tensors of its own that need no gradient, floating ones in ``dtype``."""
    tensors = {}
    for name, tensor in all_tensors(module).items():
        wanted = dtype if tensor.is_floating_point() else None
        tensors[name] = tensor.detach().to(device=device, dtype=wanted, copy=True)
    return rebuilt(module, tensors).eval().requires_grad_(False)


def skeleton(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are on the meta device."""
    return rebuilt(
        module, {name: torch.empty_like(t, device="meta") for name, t in all_tensors(module).items()}
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[nn.Module]:
    """``module`` in eval mode; every submodule has its own mode again afterwards."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield module
    finally:
        for child, mode in modes:
            child.training = mode


@contextmanager
def without_fast_path() -> Iterator[None]:
    """Torch's transformer layers operator by operator: in eval mode they may be one fused operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def without_recurrent_kernels() -> Iterator[None]:
    """Torch's recurrent layers step by step, operator by operator, and not as one operator of oneDNN or
    cuDNN; convolutions go without these too, and are slower.
    """
    backends: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
    before = [backend.enabled for backend in backends]
    for backend in backends:
        backend.enabled = False
    try:
        yield
    finally:
        for backend, enabled in zip(backends, before, strict=True):
            backend.enabled = enabled

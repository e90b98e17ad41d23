"""Modules from modules: copies without storage, and tensors put in place by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def all_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer (also those outside the state_dict) by its name; tied ones under each."""
    found: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return found | dict(module.named_buffers(remove_duplicate=False))


def skeleton(module: nn.Module) -> nn.Module:
    """A deep copy whose parameters and buffers are on the meta device: no weight is copied."""
    memo: dict[int, object] = {}
    for tensor in all_tensors(module).values():
        empty = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, nn.Parameter):
            memo[id(tensor)] = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        else:
            memo[id(tensor)] = empty
    return copy.deepcopy(module, memo)


def put(module: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Make ``tensors`` the parameters and buffers of ``module``, in place; shared parameters stay shared."""
    shared: dict[int, nn.Parameter] = {}
    for name, old in all_tensors(module).items():
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        if isinstance(old, nn.Parameter):
            new = shared.setdefault(
                id(old), nn.Parameter(tensors[name].detach(), requires_grad=old.requires_grad)
            )
            owner.register_parameter(leaf, new)
        else:
            owner.register_buffer(
                leaf, tensors[name], persistent=leaf not in owner._non_persistent_buffers_set
            )
    return module


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

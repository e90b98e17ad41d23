"""Inputs of a network: from their description to seeded tensors, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import UsageError


def make(specs: Sequence[InputSpec], seed: int = 0) -> tuple[Tensor, ...]:
    """Seeded tensors: normal noise for floating types, zeros for the others."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(_one(spec, generator) for spec in specs)


def _one(spec: InputSpec, generator: torch.Generator) -> Tensor:
    dtype: torch.dtype = getattr(torch, spec.dtype)
    if dtype.is_floating_point:
        return torch.randn(spec.shape, generator=generator).to(dtype)
    return torch.zeros(spec.shape, dtype=dtype)


def as_tuple(example: Any) -> tuple[Tensor, ...]:
    """``example_inputs`` of the Python API: a tensor or a tuple of tensors. Raises ``UsageError``."""
    values = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    if not values or not all(isinstance(value, Tensor) for value in values):
        raise UsageError(f"example_inputs is {type(example).__name__}", "give a tensor or a tuple of tensors")
    return values


def describe(values: Sequence[Tensor]) -> tuple[InputSpec, ...]:
    """What :func:`make` needs to make tensors like ``values``."""
    return tuple(
        InputSpec(None, str(value.dtype).removeprefix("torch."), tuple(value.shape)) for value in values
    )


def smaller(specs: Sequence[InputSpec], macs: int, budget: float = 1.5e9) -> tuple[InputSpec, ...]:
    """The same inputs, a single image made smaller until a forward costs about ``budget`` multiply-adds.

    Equality of two networks shows on a small image as well as on a large one, in a fraction of the time.
    """
    if len(specs) != 1 or len(specs[0].shape) != 4 or macs <= budget:
        return tuple(specs)
    spec = specs[0]
    scale = (budget / macs) ** 0.5
    height, width = (min(size, max(96, round(size * scale / 32) * 32)) for size in spec.shape[2:])
    return (InputSpec(spec.name, spec.dtype, (*spec.shape[:2], height, width)),)

"""Noise to calibrate on where there is no data: the statistics of real inputs that matter most, no content.

Everything is drawn and combined element by element in numpy, so the bytes do not depend on the number of
threads, and sample ``i`` does not depend on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.data.samples import Batch, Lazy, Samples
from prunecli.inputs import BINARY, assemble

Array = npt.NDArray[np.float32]

_SMALLEST_SIDE = 4
"""A dimension shorter than this is not a side of an image."""


def noise(specs: Sequence[InputSpec], *, samples: int, seed: int = 0) -> Samples:
    """Seeded random inputs for a network that takes ``specs``, of about unit variance.

    Images (and videos) are sums of white noise at all scales, equally strong in every octave as photographs
    are; integers are uniform within their bounds; other floating inputs are white.
    """
    whole = not batched(specs)

    def read(index: int) -> Batch:
        tensors = [_one(spec, [seed, place, index], whole) for place, spec in enumerate(specs)]
        return Batch(assemble(specs, tensors), None, whole)

    return Samples(Lazy(samples, read), "noise", count=samples)


def batched(specs: Sequence[InputSpec]) -> bool:
    """Whether the first dimension of every input is the batch. In a list it is so only where it is one: a
    detector's list has an image ``[C, H, W]`` at each place.
    """
    sizes = {spec.shape[0] if spec.shape else None for spec in specs}
    if None in sizes or len(sizes) != 1:
        return False
    in_list = any(part.isdigit() for spec in specs for part in (spec.name or "").split("."))
    return sizes == {1} or not in_list


def _one(spec: InputSpec, seed: list[int], whole: bool) -> Tensor:
    """One sample of one input: ``[1, ...]``, or the whole input."""
    generator = np.random.default_rng(seed)
    dtype: torch.dtype = getattr(torch, spec.dtype)
    shape = spec.shape if whole else (1, *spec.shape[1:])
    if not dtype.is_floating_point:
        low, high = spec.bounds or BINARY
        return torch.from_numpy(generator.integers(low, high + 1, shape)).to(dtype)
    sides = _sides(spec.shape if whole else spec.shape[1:])
    leading = shape[: len(shape) - len(sides)]
    drawn = octaves(generator, leading, sides) if sides else white(generator, shape)
    return torch.from_numpy(drawn).to(dtype)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of an image ``[C, H, W]``, and the frames of ``[C, T, H, W]``."""
    return shape[1:] if len(shape) in (3, 4) and min(shape[-2:]) >= _SMALLEST_SIDE else ()


def white(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.standard_normal(shape, dtype=np.float32)


def octaves(generator: np.random.Generator, leading: tuple[int, ...], sides: tuple[int, ...]) -> Array:
    """White noise on grids of 1, 2, 4, ... pixels up to the whole image, drawn out to ``sides`` and summed;
    every pixel has unit variance. ``[*leading, *sides]``.
    """
    total = np.zeros((*leading, *sides), np.float32)
    strides = [2**power for power in range(max(sides).bit_length()) if 2**power < max(sides)]
    strides.append(max(sides))
    for stride in strides:
        grid = tuple(-(-side // stride) for side in sides)
        drawn = white(generator, (*leading, *grid))
        for axis, side in zip(range(-len(sides), 0), sides, strict=True):
            drawn = _drawn_out(drawn, axis, side)
        total += drawn
    total /= np.sqrt(np.float32(len(strides)))
    return total


def _drawn_out(drawn: Array, axis: int, size: int) -> Array:
    """Linear interpolation along ``axis`` to ``size`` points, with weights whose squares sum to one: the
    variance of independent neighbours is kept.
    """
    old = drawn.shape[axis]
    if old == size:
        return drawn
    at = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
    low = np.floor(at).astype(np.intp)
    high = np.minimum(low + 1, old - 1)
    above = np.where(high > low, at - low, 0.0)
    norm = np.sqrt(above**2 + (1 - above) ** 2)
    shape = [*repeat(1, drawn.ndim)]
    shape[axis] = size
    first, second = ((weight / norm).astype(np.float32).reshape(shape) for weight in (1 - above, above))
    between: Array = np.take(drawn, low, axis) * first + np.take(drawn, high, axis) * second
    return between

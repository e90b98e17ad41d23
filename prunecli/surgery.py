"""``cut``: a Plan becomes smaller tensors. No module, no arithmetic: only indexing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from prunecli.coupling.axes import Axis, groups_in, kept_indices, size_of
from prunecli.coupling.space import Space
from prunecli.errors import InputError

# Smaller tensors cost more to hand to another thread than to cut.
_LARGE = 1 << 16


def cut(tensors: Mapping[str, Tensor], space: Space, keep: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """What is left of ``tensors`` when group ``g`` keeps the units ``keep[g]`` (others are kept whole).

    A tensor without axes in ``space``, or in which nothing changes, is passed through as the same object;
    a cut one is contiguous and of the same dtype, on the same device. Raises ``InputError`` for a tensor
    whose shape is not the one the space was traced with.
    """

    @cache
    def indices(axis: Axis) -> Tensor | None:
        """Kept indices of ``axis``, or None where all stay in place."""
        if not any(name in keep for name in groups_in(axis)):
            return None
        kept = kept_indices(axis, space.sizes, keep)
        return None if torch.equal(kept, torch.arange(size_of(axis, space.sizes))) else kept

    jobs: list[tuple[str, Tensor, list[Tensor | None]]] = []
    for name, tensor in tensors.items():
        axes = space.axes.get(name, ())
        _require_shape(name, tensor, axes, space.sizes)
        jobs.append((name, tensor, [indices(axis) for axis in axes]))
    large = {name for name, tensor, _ in jobs if tensor.numel() >= _LARGE}
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        running = {name: pool.submit(_cut_one, tensor, kept) for name, tensor, kept in jobs if name in large}
        done = {name: _cut_one(tensor, kept) for name, tensor, kept in jobs if name not in large}
        return {name: running[name].result() if name in large else done[name] for name, _, _ in jobs}


def _require_shape(name: str, tensor: Tensor, axes: Sequence[Axis], sizes: Mapping[str, int]) -> None:
    expected = tuple(size_of(axis, sizes) for axis in axes)
    if axes and expected != tuple(tensor.shape):
        raise InputError(f"'{name}' has shape {list(tensor.shape)} where {list(expected)} was traced")


def _cut_one(tensor: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    changed = [(dim, kept) for dim, kept in enumerate(indices) if kept is not None]
    if not changed:
        return tensor
    tensor = tensor.detach()
    if tensor.device.type == "cpu":
        return _cut_on_cpu(tensor, changed)
    for dim, kept in changed:
        tensor = tensor.index_select(dim, kept.to(tensor.device))
    return tensor.contiguous()


# numpy has no bfloat16 or float8; moving bytes needs only their width.
_SAME_WIDTH = {1: torch.uint8, 2: torch.int16}


def _cut_on_cpu(tensor: Tensor, changed: Sequence[tuple[int, Tensor]]) -> Tensor:
    """numpy's take is 2 to 6 times as fast here as ``index_select``, which dominated the cut."""
    plain = (
        tensor.view(_SAME_WIDTH[tensor.element_size()]) if tensor.element_size() in _SAME_WIDTH else tensor
    )
    array = plain.numpy()
    for dim, kept in changed:
        array = array.take(kept.numpy(), axis=dim)
    return torch.from_numpy(array).view(tensor.dtype)

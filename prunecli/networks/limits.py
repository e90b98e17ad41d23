"""What building a network may take where a file, and not the caller, says which."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from prunecli.errors import InputError

MEMORY, MEMORY_EACH = 768 << 20, 16
"""Bytes, and for each byte of the weights in the file: a constructor that cannot do without parameters has
all those of the dense network. Of the others, torchvision's swin3d takes most on its way: 0.6 GB.
"""
TENSORS, TENSORS_EACH = 1_000, 25
"""Made from nothing, as layers make their parameters, and for each tensor in the file: timm's maxvit makes
20.
"""
OPERATIONS, OPERATIONS_EACH = 20_000, 150
"""On tensors, and for each tensor in the file: the position tables of maxvit take 80."""


_READ = torch.ops.aten._local_scalar_dense.default
"""``item``: common, and no tensor comes of it."""


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses the operation that would go beyond the limits, before it is done."""

    def __init__(self, memory: int, tensors: int, operations: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory, self.tensors, self.operations = memory, tensors, operations

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        given = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        self.operations -= 1
        self.tensors -= not given
        self.memory -= _taken(func, args, options, given)
        if min(self.memory, self.tensors, self.operations) < 0:
            what = "memory" if self.memory < 0 else "layers"
            raise InputError(
                f"refused: the network that the file names would take far more {what} to build than its "
                "weights warrant",
                "the file was made to exhaust this machine, or was not written by this tool",
            )
        return func(*args, **options)


def _taken(func: Any, args: tuple[Any, ...], options: Mapping[str, Any], given: Sequence[Tensor]) -> int:
    """Bytes of memory that the result of an operation takes, by doing it without memory."""
    device = options.get("device")
    on_meta = (
        any(tensor.is_meta for tensor in given) if device is None else torch.device(device).type == "meta"
    )
    if on_meta or func is _READ or func.is_view or func._schema.is_mutable:
        return 0
    try:
        made = _without_memory(func, args, options, moved=device is not None or not given)
    except Exception:  # an operator whose sizes depend on values; what it makes is as large as what it got
        return 0
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(made) if isinstance(leaf, Tensor))


def _without_memory(
    func: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any], moved: bool
) -> Any:
    def hollow(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device="meta")

    options = tree_map(hollow, dict(options)) | ({"device": "meta", "pin_memory": None} if moved else {})
    return func(*tree_map(hollow, args), **options)


@contextmanager
def limited(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Building inside is refused with ``InputError`` where it takes far more than a file with these
    ``weights`` warrants: a few characters of a recipe can name terabytes.
    """
    size, count = sum(tensor.numel() * tensor.element_size() for tensor in weights.values()), len(weights)
    with _Counted(
        MEMORY + MEMORY_EACH * size, TENSORS + TENSORS_EACH * count, OPERATIONS + OPERATIONS_EACH * count
    ):
        yield

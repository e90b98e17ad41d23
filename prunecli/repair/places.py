"""Which outputs of the dense operation are left in the pruned one, from the axes of its parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from prunecli.coupling.axes import kept_indices
from prunecli.coupling.space import Space
from prunecli.repair.calls import Call

Keep = Mapping[str, Sequence[int]]


def kept_outputs(call: Call, parameter: Tensor, space: Space, keep: Keep) -> Tensor | None:
    """The output channels of ``call``, an operation of the dense network, that stay (int64, ascending); None
    where the weight is a view of ``parameter`` that is not followed.
    """
    kept = _kept(call, parameter, space, keep, inputs=False)
    if call.kind != "transposed" or kept is None or call.geometry.groups == 1:
        return kept
    per_group, inner = call.weight.shape[1], call.weight.shape[0] // call.geometry.groups
    whole = _kept(call, parameter, space, keep, inputs=True)
    if whole is None:
        return None
    groups = torch.unique(whole // inner)
    found: Tensor = (groups[:, None] * per_group + kept[None]).flatten()
    return found


def kept_inputs(call: Call, parameter: Tensor, space: Space, keep: Keep) -> Tensor | None:
    """The same of the inputs of one group: the second dimension of a convolution's weight, the features of a
    product.
    """
    return _kept(call, parameter, space, keep, inputs=True)


def _kept(call: Call, parameter: Tensor, space: Space, keep: Keep, *, inputs: bool) -> Tensor | None:
    if call.name is None or call.name not in space.axes:
        return None
    if call.kind != "product":
        if call.weight.shape != parameter.shape:
            return None
        dim = 1 if (call.kind == "transposed") != inputs else 0
        return kept_indices(space.axes[call.name][dim], space.sizes, keep)
    return _kept_of_product(call, parameter, space, keep, inputs)


def _kept_of_product(call: Call, parameter: Tensor, space: Space, keep: Keep, inputs: bool) -> Tensor | None:
    """``weight [in, out]`` is the parameter itself or its transpose, or some rows of either."""
    weight = call.weight
    if parameter[0].numel() == 0 or parameter.shape[2:].numel() != 1:
        return None
    first, second = parameter.shape[0], parameter[0].numel()
    if weight.stride(1) == second and weight.stride(0) == 1 and weight.shape[0] == second:
        rows, along, row_is_output = weight.shape[1], second, True
    elif weight.stride(0) == second and weight.stride(1) == 1 and weight.shape[1] == second:
        rows, along, row_is_output = weight.shape[0], second, False
    elif tuple(weight.shape) == (second, first):
        rows, along, row_is_output = first, second, True
    else:
        return None
    dim = 0 if row_is_output != inputs else 1
    kept = kept_indices(space.axes[call.name or ""][dim], space.sizes, keep)
    if dim == 1:
        return kept
    start = weight.storage_offset() // along
    return kept[(kept >= start) & (kept < start + rows)] - start

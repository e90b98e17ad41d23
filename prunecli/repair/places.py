"""Which outputs of the dense operation are left in the pruned one, from the axes of its parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from prunecli.coupling.axes import kept_indices
from prunecli.coupling.space import Space
from prunecli.running.calls import Call, rows_of

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
    found = rows_of(call, parameter)
    if found is None:
        return None
    dim = 0 if found.are_outputs != inputs else 1
    kept = kept_indices(space.axes[call.name or ""][dim], space.sizes, keep)
    if dim == 1:
        return kept
    return kept[(kept >= found.start) & (kept < found.start + found.count)] - found.start

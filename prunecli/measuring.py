"""What a network is like: its space, its MACs, its size."""

from __future__ import annotations

import torch
from torch import nn

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, rebuilt
from prunecli.counting import Count, count, sizes_of
from prunecli.coupling import Space, trace
from prunecli.errors import InputError
from prunecli.proofs import FORWARD_ERRORS
from prunecli.report.model import Totals
from prunecli.subjects import Dense


def traced(dense: Dense) -> Space:
    try:
        return trace(dense.module, input_room.make(dense.specs))
    except FORWARD_ERRORS as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = ", ".join("x".join(map(str, spec.shape)) for spec in dense.specs)
        raise InputError(
            f"the network does not run on an input of {shapes}: {first:.200}", "give another --input"
        ) from error


def counted(dense: Dense, module: nn.Module, space: Space) -> Count:
    """MACs of ``module`` (``dense`` itself, or what is left of it), in float32 whatever its weights are.

    ``space`` has the sizes of ``module``: what torch's counter leaves out is taken from its formula.
    """
    values = tuple(x.float() if x.is_floating_point() else x for x in input_room.make(dense.specs))
    tensors = all_tensors(module)
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors.values()):
        floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        module = rebuilt(module, floats).eval()
    return count(module, values, left_out=space.other_macs.value(space.sizes))


def totals(module: nn.Module, counted: Count) -> Totals:
    params, size = sizes_of(module, module.state_dict())
    return Totals(params, counted.total, size)


def unknown_operator_notes(space: Space) -> tuple[str, ...]:
    """A line per operator that the tracer has no rule for."""
    return tuple(
        f"operator {name} has no rule: what it touches is left whole" for name in space.unknown_operators
    )

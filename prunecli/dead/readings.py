"""What arrives at every weighted operation whatever the input is, and where a constant of it can go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, working_copy
from prunecli.dead.rules import is_pointwise
from prunecli.dead.shadow import shadowed
from prunecli.inputs import Inputs
from prunecli.repair.operations import Constant, Operation
from prunecli.repair.survey import survey
from prunecli.running.calls import Call, Geometry, Kind, Rows, rows_of

SAME = 1e-12
"""How far numbers may differ relatively and still be one constant: vector units round the ends of an array
differently.
"""


@dataclass
class Reading:
    """One weight and what it is multiplied by. ``dead [G, I/G]``: which of its inputs do not depend on the
    input of the network; ``arrives``: the one constant that comes there, at all positions of inputs of any
    size, else NaN. ``even``: whether constants then give every position of the output the same. ``place``:
    where such a constant of the output can go.
    """

    name: str
    start: int
    kind: Kind
    geometry: Geometry
    rows: Rows | None
    dead: Tensor
    arrives: Tensor
    even: bool
    place: Constant | None = None

    def matrix(self, parameter: Tensor) -> Tensor:
        """The weight as ``[G, O/G, I/G, taps]``, from ``parameter``."""
        groups = self.geometry.groups
        if self.kind == "transposed":
            weight = parameter.reshape(groups, parameter.shape[0] // groups, parameter.shape[1], -1)
            return weight.transpose(1, 2)
        if self.kind == "convolution":
            return parameter.reshape(groups, parameter.shape[0] // groups, parameter.shape[1], -1)
        return self.product_rows(parameter)[None, :, :, None]

    def product_rows(self, parameter: Tensor) -> Tensor:
        """``[out, in]`` of a product."""
        assert self.rows is not None
        plain = parameter.reshape(parameter.shape[0], -1)
        used = plain[self.rows.start : self.rows.start + self.rows.count]
        return used if self.rows.are_outputs else used.t()

    def inputs_along(self, dim: int) -> tuple[int, int, bool] | None:
        """If dimension ``dim`` of the parameter is that of inputs: where they begin in it, how many they are,
        and whether those of all groups follow each other.
        """
        if self.kind == "convolution":
            return (0, self.dead.shape[1], False) if dim == 1 else None
        if self.kind == "transposed":
            return (0, self.dead.numel(), True) if dim == 0 else None
        assert self.rows is not None
        if self.rows.are_outputs:
            return (0, self.dead.shape[1], False) if dim == 1 else None
        return (self.rows.start, self.rows.count, False) if dim == 0 else None


@dataclass(frozen=True)
class Readings:
    """All that is multiplied by weights in one run. ``unfollowed``: parameters that something else uses too,
    with what it is.
    """

    of: Mapping[str, list[Reading]]
    unfollowed: Mapping[str, str]


@dataclass
class _Reader:
    """Collects what arrives, over all uses of a weight."""

    tensors: Mapping[str, Tensor]
    found: dict[tuple[str, int], Reading] = field(default_factory=dict)
    unfollowed: dict[str, str] = field(default_factory=dict)
    strict: bool = False

    def elsewhere(self, name: str, operator: str) -> None:
        self.unfollowed.setdefault(name, f"{operator} takes it too")

    def visit(self, call: Call, dark: Call | None) -> None:
        name = call.name or ""
        parameter = self.tensors[name]
        rows = rows_of(call, parameter) if call.kind == "product" else None
        whole = call.kind != "product" and call.weight.shape == parameter.shape
        if not whole and rows is None:
            self.unfollowed[name] = "a view of it is used that is not followed"
            return
        dead, arrives = _constants(call, dark)
        key = name, int(call.weight.storage_offset())
        known = self.found.get(key)
        if known is None:
            self.found[key] = Reading(
                name, key[1], call.kind, call.geometry, rows, dead, arrives, _is_even(call)
            )
        elif known.kind != call.kind or known.dead.shape != dead.shape:
            self.unfollowed[name] = "it is used in several ways"
        elif self.strict:
            known.arrives = torch.where(_alike(known.arrives, arrives), arrives, torch.nan)
        else:
            known.dead, known.even = known.dead & dead, known.even and _is_even(call)
            known.arrives = torch.where(_alike(known.arrives, arrives), arrives, torch.nan)


def read(module: nn.Module, inputs: Inputs) -> Readings:
    """Run ``module`` in float64 on ``inputs``, three times. Raises what its forward raises."""
    network = working_copy(module, dtype=torch.float64)
    given = inputs.cast(torch.float64)
    reader = _Reader(all_tensors(network))
    shadowed(network, given, reader.visit, reader.elsewhere, strict=False)
    reader.strict = True
    shadowed(network, given, reader.visit, reader.elsewhere, strict=True)
    operations = survey(network, given).operations
    for operation in operations:
        _place(reader, operation)
    of: dict[str, list[Reading]] = {}
    for reading in reader.found.values():
        of.setdefault(reading.name, []).append(reading)
    return Readings(of, reader.unfollowed)


def _place(reader: _Reader, operation: Operation) -> None:
    if operation.kind not in ("convolution", "transposed", "product"):
        return
    if operation.reason is not None:
        if operation.name:
            reader.unfollowed.setdefault(operation.name, operation.reason)
        return
    reading = reader.found.get(operation.weight)
    if reading is not None:
        reading.place = operation.constant


def _constants(call: Call, dark: Call | None) -> tuple[Tensor, Tensor]:
    """``[G, I/G]``: which inputs do not depend on that of the network, and what arrives there at all
    positions, NaN where that is not one number.
    """
    groups = call.geometry.groups
    rows = [one.x for one in (call, dark) if one is not None]
    if call.kind != "product":
        rows = [x.movedim(1, -1).flatten(0, -2) for x in rows]
    real, shadow = rows[0], rows[-1]
    if dark is None or not real.numel() or real.shape != shadow.shape:
        nothing = torch.full((groups, real.shape[-1] // groups), torch.nan, dtype=torch.float64)
        return ~nothing.isnan(), nothing
    dead = ((real - shadow).abs() <= 1e3 * SAME * shadow.abs()).all(0)
    value = torch.where(dead & _alike(shadow, shadow[0]).all(0), shadow[0], torch.nan)
    return dead.reshape(groups, -1), value.reshape(groups, -1)


def _alike(first: Tensor, second: Tensor) -> Tensor:
    """False for NaN."""
    return (first - second).abs() <= SAME * second.abs()


def _is_even(call: Call) -> bool:
    """Whether a constant input gives every position of the output the same."""
    geometry = call.geometry
    if call.kind == "transposed":
        return not any(geometry.padding) and is_pointwise(
            call.weight, geometry.stride, geometry.output_padding
        )
    return call.kind == "product" or not any(geometry.padding)

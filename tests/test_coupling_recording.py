"""What a recording keeps: axes of tensors, names of parameters, roles, costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pytest
import torch
from torch import Tensor

from prunecli.coupling.nodes import fresh, is_pinned
from prunecli.coupling.recording import (
    CONSTANT,
    CostTerm,
    Recording,
    numbers_in,
    outputs_in,
    tensors_in,
    to_meta,
)
from prunecli.errors import InputError


def test_a_tensor_from_nowhere_has_fixed_axes() -> None:
    recording = Recording()
    tensor = torch.zeros(3, 4)
    assert not recording.is_traced(tensor)
    assert [node.size for node in recording.axes(tensor)] == [3, 4]
    assert all(is_pinned(node) for node in recording.axes(tensor))
    assert recording.axes(tensor)[0].pinned == CONSTANT  # type: ignore[union-attr]


def test_tied_names_share_their_axes() -> None:
    recording = Recording()
    first, second = torch.empty(3, 4), torch.empty(3, 4)
    recording.add_parameter(["a.weight", "b.weight"], first)
    recording.add_parameter(["b.weight", "c.weight"], second)
    axes = recording.parameter_axes
    assert axes["a.weight"] is axes["b.weight"] is axes["c.weight"]
    assert recording.name_of(first) == "a.weight"
    assert recording.is_traced(first)


def test_the_first_role_and_the_first_use_stay() -> None:
    recording = Recording()
    weight, bias = torch.empty(3, 4), torch.empty(3)
    recording.add_parameter(["weight"], weight)
    recording.add_parameter(["bias"], bias)
    recording.use(bias)
    recording.role(weight, "out", "in")
    recording.role(weight, "in", "out")
    recording.role(torch.empty(3), "bias")
    assert recording.roles == {("weight", 0): "out", ("weight", 1): "in"}
    assert list(recording.used) == ["bias", "weight"]


def test_costs_are_noted_only_while_counting() -> None:
    recording = Recording()
    node = fresh(5)
    recording.cost(3, [node])
    recording.counting = False
    recording.cost(4, [node])
    assert recording.costs == [CostTerm(3, (node,), True)]


def test_a_plain_number_pins_and_a_traced_one_demands() -> None:
    recording = Recording()
    recording.module_stack += ["", "block", ""]
    plain, traced = fresh(4), fresh(4)
    recording.pair(4, plain)
    recording.pair(recording.integers.attribute("block", "width", None, 4), traced)
    assert plain.pinned == "its size is the plain number 4 in block"  # type: ignore[union-attr]
    assert not is_pinned(traced)
    assert recording.integers.demands[0].node is traced


def test_where_is_the_innermost_module_with_a_path() -> None:
    recording = Recording()
    assert recording.where == "the network's forward"
    recording.module_stack += ["", "layer1", "layer1.conv", ""]
    assert recording.where == "layer1.conv"


@dataclass
class Output:
    logits: Tensor
    hidden: tuple[Tensor, ...]
    loss: None = None


def test_tensors_are_found_in_nests() -> None:
    a, b, c = torch.zeros(1), torch.ones(1), torch.ones(2)
    found = tensors_in({"x": [a, (b, "text", 3)], "y": Output(c, (a,))})
    assert [id(t) for t in found] == [id(t) for t in (a, b, c, a)]
    assert tensors_in(None) == []


def test_numbers_are_found_in_arguments() -> None:
    number = Recording().integers.attribute("block", "width", None, 4)
    assert numbers_in((1, number, [number, 2])) == [number, number]
    assert numbers_in(slice(number, None, number)) == [number, number]
    assert numbers_in(4) == []


def test_stand_ins_have_no_storage() -> None:
    assert to_meta(torch.zeros(2, 3, dtype=torch.float64)).dtype is torch.float32
    assert to_meta(torch.zeros(2, dtype=torch.int64)).dtype is torch.int64
    assert to_meta(torch.zeros(2, 3)).is_meta


class Plain:
    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


def test_outputs_are_found_however_deep() -> None:
    a, b, c = torch.ones(1), torch.ones(2), torch.ones(3)
    assert outputs_in(Plain(x=a, more=[{"k": (b, None, 3)}, Plain(y=c)])) == [a, b, c]


@pytest.mark.parametrize("hidden", [iter([1]), lambda: 1, (i for i in ())])
def test_what_could_hide_a_tensor_is_refused(hidden: object) -> None:
    with pytest.raises(InputError, match="cannot be searched for tensors"):
        outputs_in([torch.ones(1), hidden])


@dataclass(frozen=True, slots=True)
class Slotted:
    x: Tensor
    kind: object


def test_outputs_are_found_in_a_dataclass_with_slots() -> None:
    a = torch.ones(1)
    for kind in (None, Kind.ONE, torch.float32, torch.device("cpu")):
        assert outputs_in([Slotted(a, kind)]) == [a]


class Kind(Enum):
    ONE = 1

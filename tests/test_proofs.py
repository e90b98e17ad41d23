"""The masked oracle: it holds for a right cut, fails for wrong ones, and finds the culprit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.coupling import Space, trace
from prunecli.errors import InputError
from prunecli.proofs import (
    FORWARD,
    ORACLE,
    Subject,
    evidence,
    masked,
    patches_for,
    pruned,
    relative_error,
    run,
)

room = import_module("prunecli.proofs")
IMAGE = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)
    ).eval()


def normed() -> nn.Module:
    """A LayerNorm over the hidden axis: removing units changes the others."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 12), nn.LayerNorm(12), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4))


def subject(module: nn.Module, image: Tensor = IMAGE) -> Subject:
    return Subject.open(module, all_tensors(module), trace(module, (image,)), [(image,)])


def by_size(space: Space) -> dict[int, str]:
    return {group.size: group.name for group in space.groups}


def test_masked_by_hand() -> None:
    module = convolutions()
    space = trace(module, (IMAGE,))
    found = masked(all_tensors(module), space, {by_size(space)[8]: (0, 1, 2, 4, 5, 6)})
    dense = module.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert not found[name][[3, 7]].any()
        assert torch.equal(found[name][[0, 1, 2, 4, 5, 6]], dense[name][[0, 1, 2, 4, 5, 6]])
    assert not found["3.weight"][:, [3, 7]].any()
    assert torch.equal(found["5.weight"], dense["5.weight"])
    assert torch.equal(found["1.running_mean"], dense["1.running_mean"])
    assert dense["0.weight"].all()


def test_a_right_cut_passes_in_double_precision() -> None:
    checked = subject(convolutions())
    assert checked.dtype == torch.float64
    names = by_size(checked.space)
    (proof,) = checked.prove({names[8]: (0, 2, 5), names[6]: (1, 4)})
    assert (proof.name, proof.passed) == (ORACLE, True)
    assert proof.error is not None
    assert proof.error < 1e-12


@pytest.mark.parametrize("parameter", ["0.bias", "1.running_var", "3.weight"])
def test_a_wrong_cut_fails(parameter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: one tensor is cut with its kept units in another order."""
    right = room.cut

    def wrong(tensors: Mapping[str, Tensor], space: Space, keep: Mapping[str, Sequence[int]]) -> object:
        result = right(tensors, space, keep)
        if keep:
            result[parameter] = result[parameter].flip(1 if parameter == "3.weight" else 0)
        return result

    module = convolutions()
    nn.init.uniform_(module[1].running_var, 0.5, 1.5)
    checked = subject(module)
    monkeypatch.setattr(room, "cut", wrong)
    (proof,) = checked.prove({by_size(checked.space)[8]: (0, 2, 5)})
    assert not proof.passed
    assert "relative error" in proof.detail


def test_value_changing_groups_are_left_whole_for_the_oracle() -> None:
    checked = subject(normed(), torch.randn(1, 8))
    names = by_size(checked.space)
    keep = {names[12]: (0, 1, 2, 3, 4, 5), names[10]: (0, 1, 2)}
    assert checked.keeps_values(keep) == {names[10]: (0, 1, 2)}
    assert [(proof.name, proof.passed) for proof in checked.prove(keep)] == [(ORACLE, True), (FORWARD, True)]
    assert [proof.name for proof in checked.prove({names[12]: (0, 1)})] == [FORWARD]
    assert checked.error({names[12]: (0, 1, 2)}) > 1e-3


def test_outputs_that_are_not_finite_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = subject(normed(), torch.randn(1, 8))
    right = room.cut

    def broken(*given: object) -> object:
        return {name: tensor * math.nan for name, tensor in right(*given).items()}

    monkeypatch.setattr(room, "cut", broken)
    (proof,) = checked.prove({by_size(checked.space)[12]: (0, 1)})
    assert (proof.name, proof.passed) == (FORWARD, False)


class Sized(nn.Module):
    """Insists on six maps in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = convolutions()

    def forward(self, x: Tensor) -> Tensor:
        x = self.body[:5](x)
        if x.stride(0) // x.stride(1) != 6:
            raise RuntimeError("six maps\nor none")
        return self.body[5](x)


def test_the_culprit_is_found_and_nothing_else() -> None:
    checked = subject(Sized())
    names = by_size(checked.space)
    keep = {names[8]: (0, 1), names[6]: (0, 1)}
    (proof,) = checked.prove(keep)
    assert (proof.passed, proof.detail) == (False, "forward raised: six maps")
    assert checked.culprits(keep) == {names[6]: "cutting it failed the proof: forward raised: six maps"}
    assert checked.culprits({names[8]: (0, 1)}) == {}


def test_an_input_that_is_refused_leads_to_the_next() -> None:
    module = convolutions()
    tensors, space = all_tensors(module), trace(module, (IMAGE,))
    small, wrong = torch.randn(1, 3, 7, 7), torch.randn(1, 5, 8, 8)
    assert Subject.open(module, tensors, space, [(wrong,), (small,)]).inputs[0] is small
    with pytest.raises(InputError, match="does not run on its input") as caught:
        Subject.open(module, tensors, space, [(wrong,)])
    assert "\n" not in caught.value.message


def test_attributes_follow_the_sizes() -> None:
    module = convolutions()
    space = trace(module, (IMAGE,))
    keep = {by_size(space)[8]: (0, 2, 5)}
    patched = {(p.module, p.attribute): p.value for p in patches_for(space, {by_size(space)[8]: 3})}
    assert all(value == 3 for value in patched.values())
    assert patches_for(space, {}) == ()
    smaller = pruned(module, space, room.cut(all_tensors(module), space, keep), keep)
    assert smaller[0].out_channels == 3
    assert smaller[0].weight.shape == (3, 3, 3, 3)
    assert module[0].weight.shape == (8, 3, 3, 3)


def test_run_takes_all_outputs_in_the_precision_asked() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"a": x, "more": [x.sum(), x.argmax()]}

    outputs = run(Two(), (torch.ones(2),), torch.float64)
    assert [tensor.dtype for tensor in outputs] == [torch.float64, torch.float64, torch.int64]


@pytest.mark.parametrize(
    ("wanted", "found", "error"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0]], 0.0),
        ([[1.0, 2.0]], [[1.0, 1.0]], 0.5),
        ([[1.0], [100.0]], [[2.0], [100.0]], 1.0),
        ([[0.0]], [[0.0]], 0.0),
        ([[]], [[]], 0.0),
        ([[1.0]], [[1.0, 1.0]], math.inf),
        ([[1.0]], [], math.inf),
    ],
)
def test_relative_error(wanted: list[list[float]], found: list[list[float]], error: float) -> None:
    assert relative_error([torch.tensor(w) for w in wanted], [torch.tensor(f) for f in found]) == error


def test_a_nan_is_an_error() -> None:
    clean, odd = torch.ones(2), torch.tensor([1.0, math.nan])
    for pair in ([odd, clean], [clean, odd]):
        found = relative_error([clean, clean], pair)
        assert not found <= 1e-4


def test_a_subject_is_a_value() -> None:
    checked = subject(convolutions())
    assert replace(checked, dtype=torch.float32).output({})[0].dtype == torch.float32


class Shared(nn.Module):
    """Two layers that hold one weight, and a third that is a second name of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = nn.Linear(8, 6), nn.Linear(6, 6), nn.Linear(6, 6, bias=False)
        self.second.weight = self.first.weight
        self.again = self.first
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.again(self.first(self.stem(x).relu()).relu()).relu()))


def test_a_shared_parameter_is_silenced_under_all_its_names() -> None:
    torch.manual_seed(0)
    module, x = Shared().eval(), torch.randn(2, 8)
    checked = subject(module, x)
    (group,) = checked.space.groups
    keep = {group.name: (0, 2, 3, 5)}
    found = masked(checked.tensors, checked.space, keep)
    for name in ("first.weight", "second.weight", "again.weight"):
        assert not found[name][[1, 4]].any()
        assert not found[name][:, [1, 4]].any()
        assert found[name][0, 0]
    assert checked.error(keep) < 1e-9
    assert not relative_error(checked.output({}), checked.output(keep)) < 1e-3


def test_running_a_network_leaves_its_submodules_with_two_names_alone() -> None:
    module, x = Shared().eval(), torch.randn(2, 8)
    before = [{name: id(t) for name, t in all_tensors(module).items()}, list(module.state_dict())]
    wanted = module(x)
    torch.testing.assert_close(run(module, (x,), torch.float64)[0].float(), wanted)
    torch.testing.assert_close(run(module, (x,))[0], wanted)
    assert [{name: id(t) for name, t in all_tensors(module).items()}, list(module.state_dict())] == before
    assert module.again is module.first
    assert len(module.first._parameters) == 2


def test_an_output_that_shows_nothing_is_said() -> None:
    """A zero head hides everything before it: the oracle passes, and says that it saw nothing."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    nn.init.zeros_(module[2].weight)
    checked = subject(module, torch.randn(1, 4))
    (proof,) = checked.prove({by_size(checked.space)[6]: (0, 1)})
    assert (proof.passed, proof.error) == (True, 0.0)
    assert "no output depends on the removed units" in proof.detail


class Picky(nn.Module):
    """Drops every answer, as a detector drops the boxes that it finds in noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.head = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(self.stem(x).relu())
        return y[y.sum(1) > 1e6]


def test_layers_are_compared_where_the_outputs_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = subject(Picky(), torch.randn(3, 4))
    keep = {by_size(checked.space)[6]: (0, 2, 3)}
    (proof,) = checked.prove(keep)
    assert proof.passed
    assert proof.error is not None
    assert proof.error < 1e-12
    assert "on 1 layers, since the outputs show nothing" in proof.detail
    right = room.cut

    def wrong(tensors: Mapping[str, Tensor], space: Space, keep: Mapping[str, Sequence[int]]) -> object:
        result = right(tensors, space, keep)
        return result | {"head.weight": result["head.weight"].flip(1)} if keep else result

    monkeypatch.setattr(room, "cut", wrong)
    (proof,) = checked.prove(keep)
    assert not proof.passed


class Best(Picky):
    """Says which of two answers is the larger, and they are equal."""

    def __init__(self) -> None:
        super().__init__()
        for parameter in self.head.parameters():
            parameter.data[1] = parameter.data[0]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.stem(x).relu())
        return y.argmax(1)


@pytest.mark.parametrize(("shift", "passes"), [(1e-13, True), (0.5, False)])
def test_a_choice_that_a_tie_upsets_is_looked_at_from_inside(
    monkeypatch: pytest.MonkeyPatch, shift: float, passes: bool
) -> None:
    checked = subject(Best(), torch.randn(3, 4))
    keep = {by_size(checked.space)[6]: (0, 2, 3)}
    right = room.cut
    other = 1 - int(checked.output({})[0][0])

    def inexact(tensors: Mapping[str, Tensor], space: Space, keep: Mapping[str, Sequence[int]]) -> object:
        result = right(tensors, space, keep)
        bias = result["head.bias"].double().clone()
        bias[other] += shift
        return result | {"head.bias": bias} if keep else result

    monkeypatch.setattr(room, "cut", inexact)
    (proof,) = checked.prove(keep)
    assert proof.passed is passes
    assert not passes or "since the outputs were chosen by value" in proof.detail


def test_evidence_is_the_output_unless_that_is_empty() -> None:
    x = torch.randn(3, 4)
    (output,) = evidence(convolutions(), (IMAGE,))
    assert torch.equal(output, convolutions()(IMAGE))
    net = Picky()
    stem, head = evidence(net, (x,))
    torch.testing.assert_close(stem, net.stem(x))
    torch.testing.assert_close(head, net.head(net.stem(x).relu()))
    assert not any(child._forward_hooks for child in net.modules())


@pytest.mark.parametrize(
    ("wanted", "found", "error"),
    [
        ([math.inf, math.nan, 1.0], [math.inf, math.nan, 1.0], 0.0),
        ([math.inf, 2.0], [math.inf, 1.0], 0.5),
        ([math.inf, 2.0], [2.0, 2.0], math.inf),
        ([1.0, 2.0], [math.nan, 2.0], math.inf),
    ],
)
def test_infinities_are_equal_to_themselves_only(
    wanted: list[float], found: list[float], error: float
) -> None:
    assert relative_error([torch.tensor(wanted)], [torch.tensor(found)]) == error


def test_nothing_to_compare_is_no_proof() -> None:
    assert relative_error([], []) == math.inf


def test_a_network_that_draws_in_eval_mode_is_refused() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.b(nn.functional.dropout(self.a(x)))
            return y

    with pytest.raises(InputError, match="another output each time"):
        subject(Noisy(), torch.randn(1, 4))

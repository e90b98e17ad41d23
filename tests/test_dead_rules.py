from __future__ import annotations

import torch

from prunecli.dead.rules import RULES

NAN = torch.nan


def test_products_are_unknown_where_the_unknown_meets_a_weight() -> None:
    x = torch.tensor([[1.0, NAN, 2.0]])
    weight = torch.tensor([[3.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    wanted = torch.tensor([[5.0, NAN, 0.0]])
    found = RULES["mm"](torch.ops.aten.mm.default, (x, weight.t()), {}, False)
    assert torch.equal(found.isnan(), wanted.isnan()) and torch.equal(found.nan_to_num(), wanted.nan_to_num())
    bias = torch.tensor([1.0, 1.0, 1.0])
    found = RULES["addmm"](torch.ops.aten.addmm.default, (bias, x, weight.t()), {}, False)
    assert torch.equal(found.nan_to_num(), torch.tensor([[6.0, 0.0, 1.0]]))


def test_two_unknown_matrices_are_silenced_by_zeros_of_either() -> None:
    first = torch.tensor([[[NAN, 0.0]], [[0.0, NAN]]])
    second = torch.tensor([[[0.0], [NAN]], [[NAN], [2.0]]])
    found = RULES["bmm"](torch.ops.aten.bmm.default, (first, second), {}, False)
    assert found.isnan().flatten().tolist() == [False, True]
    assert found[0] == 0


def test_a_zero_silences_and_nothing_else_does() -> None:
    first, second = torch.tensor([0.0, NAN, 1.0, NAN]), torch.tensor([NAN, 0.0, NAN, NAN])
    found = RULES["mul"](torch.ops.aten.mul.Tensor, (first, second), {}, False)
    assert found.isnan().tolist() == [False, False, True, True]
    infinite = RULES["mul"](torch.ops.aten.mul.Tensor, (torch.zeros(1), torch.tensor([torch.inf])), {}, False)
    assert infinite.isnan()


def test_a_gamma_of_zero_leaves_beta() -> None:
    x = torch.full((1, 2, 2, 2), NAN)
    arguments = (x, torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.5]), torch.zeros(2), torch.ones(2), False)
    norm = torch.ops.aten.native_batch_norm.default
    found = RULES["native_batch_norm"](norm, (*arguments, 0.1, 1e-5), {}, False)[0]
    assert (found[:, 0] == 0.5).all() and found[:, 1].isnan().all()


def test_strict_padding_leaves_only_zeros_known() -> None:
    x = torch.stack([torch.zeros(3, 3), torch.ones(3, 3)])[None]
    arguments = (x, torch.ones(2, 1, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 2)
    convolution = torch.ops.aten.convolution.default
    strict = RULES["convolution"](convolution, arguments, {}, True)
    assert (strict[:, 0] == 0).all() and strict[:, 1].isnan().all()
    assert not RULES["convolution"](convolution, arguments, {}, False).isnan().any()

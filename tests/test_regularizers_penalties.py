from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from criteria_networks import Case, case
from test_regularizers_units import KINDS, slices
from torch import Tensor

from prunecli.regularizers import Penalty, Regularized, Units, find_regularizer

STRENGTH, ALPHA, DELTA = 0.3, 4.0, 0.2


def started(name: str, subject: Case, **values: float) -> Penalty:
    method = find_regularizer(name)
    units = Units(subject.space, subject.module)
    asked = Regularized(units, method.values(values), frozenset(values), 100, 0.0, dict)
    made = method.make(asked)
    assert isinstance(made, Penalty)
    return made


def norms_of(subject: Case) -> dict[str, Tensor]:
    """``[n]`` of every group, as functions of the weights."""
    squares: dict[str, dict[int, list[Tensor]]] = {}
    for group, unit, _, mine in slices(subject.space, dict(subject.module.named_parameters())):
        squares.setdefault(group, {}).setdefault(unit, []).extend(piece.square().sum() for piece in mine)
    return {
        group: torch.stack([torch.stack(units[k]).sum() for k in range(len(units))]).sqrt()
        for group, units in squares.items()
    }


def held(norms: Mapping[str, Tensor], weigh: Callable[[Tensor], Tensor]) -> Tensor:
    """``1/2 sum_k c_k ||w_k||^2`` with constant ``c``."""
    return torch.stack([(weigh(each.detach()) * each.square() / 2).sum() for each in norms.values()]).sum()


def fraction(norms: Tensor) -> Tensor:
    return (norms.max() - norms) / (norms.max() - norms.min())


def assert_gradients(subject: Case, penalty: Tensor) -> None:
    parameters = dict(subject.module.named_parameters())
    wanted = torch.autograd.grad(penalty, list(parameters.values()), allow_unused=True)
    assert any(gradient is not None for gradient in wanted)
    for (name, parameter), gradient in zip(parameters.items(), wanted, strict=True):
        expected = torch.zeros_like(parameter) if gradient is None else gradient
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_group_lasso(kind: str) -> None:
    subject = case(kind)
    started("group-lasso", subject, strength=STRENGTH).after_backward()
    norms = norms_of(subject)
    assert_gradients(subject, STRENGTH * torch.stack([each.sum() for each in norms.values()]).sum())


@pytest.mark.parametrize("kind", KINDS)
def test_group_norm(kind: str) -> None:
    subject = case(kind)
    started("group-norm", subject, strength=STRENGTH).after_backward()
    assert_gradients(subject, held(norms_of(subject), lambda each: STRENGTH * 2 ** (ALPHA * fraction(each))))


@pytest.mark.parametrize("kind", KINDS)
def test_growing_reg_grows_once_per_epoch(kind: str) -> None:
    subject = case(kind)
    regularizer = started("growing-reg", subject, strength=STRENGTH, delta=DELTA)
    regularizer.after_epoch(1)
    with torch.no_grad():
        # The second epoch sees other sizes.
        before = {group: fraction(each.detach()) for group, each in norms_of(subject).items()}
        for parameter in subject.module.parameters():
            parameter.mul_(torch.rand_like(parameter) + 0.5)
    regularizer.after_epoch(2)
    regularizer.after_backward()
    norms = norms_of(subject)
    parts = []
    for group, each in norms.items():
        factors = STRENGTH + DELTA * before[group] + DELTA * fraction(each.detach())
        parts.append((factors * each.square() / 2).sum())
    assert_gradients(subject, torch.stack(parts).sum())


def test_growing_reg_goes_on_from_its_state() -> None:
    subject = case("residual")
    one = started("growing-reg", subject, delta=DELTA)
    one.after_epoch(1)
    state = one.state_dict()
    other = started("growing-reg", subject, delta=DELTA)
    other.load_state_dict(state)
    for regularizer in (one, other):
        regularizer.after_epoch(2)
    first, second = one.state_dict()["strengths"], other.state_dict()["strengths"]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[group], second[group]) for group in first)


def test_bn_scale() -> None:
    subject = case("residual")
    started("bn-scale", subject, strength=STRENGTH).after_backward()
    scales = [norm.weight.abs().sum() for norm in (subject.module.stem_norm, subject.module.first_norm)]
    scales.append(subject.module.second_norm.weight.abs().sum())
    assert_gradients(subject, STRENGTH * torch.stack(scales).sum())


def test_a_unit_that_is_nothing_gets_nothing() -> None:
    subject = case("residual")
    with torch.no_grad():
        for parameter in subject.module.parameters():
            parameter.zero_()
    started("group-lasso", subject, strength=STRENGTH).after_backward()
    for parameter in subject.module.parameters():
        assert parameter.grad is None or not parameter.grad.any()


def test_equal_units_count_as_large() -> None:
    subject = case("residual")
    with torch.no_grad():
        for parameter in subject.module.parameters():
            parameter.fill_(1.0)
    started("group-norm", subject, strength=STRENGTH).after_backward()
    assert_gradients(subject, held(norms_of(subject), lambda each: torch.full_like(each, STRENGTH)))

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from criteria_networks import case
from torch import Tensor

from prunecli.coupling.axes import owners
from prunecli.coupling.space import Space
from prunecli.regularizers import Units

KINDS = ("residual", "grouped", "attention", "grouped queries", "transposed")


def slices(space: Space, parameters: dict[str, Tensor]) -> Iterator[tuple[str, int, str, list[Tensor]]]:
    """Group, unit, role, and the unit's slice of every slot, index by index."""
    for group in space.groups:
        if group.frozen is not None:
            continue
        for slot in group.slots:
            axis = space.axes[slot.parameter][slot.dim]
            owner = owners(axis, space.sizes, group.name).tolist()
            weight = parameters[slot.parameter]
            for unit in range(group.size):
                mine = [weight.select(slot.dim, index) for index, of in enumerate(owner) if of == unit]
                yield group.name, unit, slot.role, mine


@pytest.mark.parametrize("kind", KINDS)
def test_norms_are_those_of_all_slices(kind: str) -> None:
    subject = case(kind)
    net = subject.module.double()
    wanted: dict[tuple[str, int], float] = {}
    for group, unit, _, mine in slices(subject.space, dict(net.named_parameters())):
        total = sum(float(piece.detach().square().sum()) for piece in mine)
        wanted[group, unit] = wanted.get((group, unit), 0.0) + total
    found = Units(subject.space, net).norms()
    assert {(g, k) for g, norms in found.items() for k in range(len(norms))} == wanted.keys()
    for (group, unit), squares in wanted.items():
        assert float(found[group][unit]) == pytest.approx(squares**0.5, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pull_is_the_gradient_of_weighed_squares(kind: str) -> None:
    subject = case(kind)
    net = subject.module.double()
    units = Units(subject.space, net)
    torch.manual_seed(1)
    weights = {name: torch.rand(group.size, dtype=torch.float64) for name, group in units.groups.items()}
    parameters = dict(net.named_parameters())
    half_squares = [
        weights[group][unit] / 2 * torch.stack([piece.square().sum() for piece in mine]).sum()
        for group, unit, _, mine in slices(subject.space, parameters)
    ]
    wanted = torch.autograd.grad(
        torch.stack(half_squares).sum(), list(parameters.values()), allow_unused=True
    )
    units.pull(weights)
    for (name, parameter), gradient in zip(parameters.items(), wanted, strict=True):
        found = parameter.grad
        if gradient is None:
            assert found is None, name
        else:
            assert found is not None
            torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-14)


def test_a_pull_adds_to_the_gradient_that_is_there() -> None:
    subject = case("residual")
    units = Units(subject.space, subject.module)
    weights = {name: torch.ones(group.size) for name, group in units.groups.items()}
    units.pull(weights)
    once = {name: p.grad.clone() for name, p in subject.module.named_parameters() if p.grad is not None}
    units.pull(weights)
    assert once
    for name, parameter in subject.module.named_parameters():
        if name in once:
            assert torch.equal(parameter.grad, 2 * once[name])


def test_what_is_not_trained_is_left_alone() -> None:
    subject = case("residual")
    for parameter in subject.module.stem.parameters():
        parameter.requires_grad_(False)
    units = Units(subject.space, subject.module)
    units.pull({name: torch.ones(group.size) for name, group in units.groups.items()})
    assert subject.module.stem.weight.grad is None
    assert subject.module.stem_norm.weight.grad is not None


@pytest.mark.parametrize("kind", KINDS)
def test_recovery_spares_what_any_picked_unit_owns(kind: str) -> None:
    subject = case(kind)
    net = subject.module.double()
    units = Units(subject.space, net)
    name, group = next(iter(units.groups.items()))
    picked = {name: torch.arange(group.size) % 2 == 0}
    parameters = dict(net.named_parameters())
    marks = {key: torch.zeros_like(p) for key, p in parameters.items()}
    for number in (1.0, -1.0):
        # Kept units first, so that what a picked one owns too is marked last.
        for owner, unit, _, mine in slices(subject.space, marks):
            going = owner == name and bool(picked[name][unit])
            if going == (number < 0):
                for piece in mine:
                    piece.fill_(number)
    units.recover(picked, 0.25)
    for key, parameter in parameters.items():
        wanted = torch.where(marks[key] > 0, -0.25 * parameter.detach(), 0.0)
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=0)

"""The reference of the criteria that read data, against what defines them in another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from criteria_networks import NETWORKS, case
from criteria_reference import (
    Array,
    Reference,
    activation_products,
    cross_entropy,
    entries,
    products,
    scores_of,
    thrown,
)
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812

from prunecli.coupling.axes import owners

STEP = 1e-4


def gated(reference: Reference, group: str, unit: int, gate: float) -> dict[str, Tensor]:
    """All parameters, those that ``unit`` owns times ``gate`` for every slot they are in."""
    space = reference.case.space
    tensors = {name: p.detach().clone() for name, p in reference.parameters.items()}
    for slot in space.by_name[group].slots:
        owned = owners(space.axes[slot.parameter][slot.dim], space.sizes, group) == unit
        shape = [-1 if dim == slot.dim else 1 for dim in range(tensors[slot.parameter].dim())]
        gates = torch.ones(len(owned), dtype=torch.float64).masked_fill(owned, gate)
        tensors[slot.parameter] *= gates.view(shape)
    return tensors


@pytest.mark.parametrize("name", NETWORKS)
def test_products_are_how_the_loss_changes_with_a_gate(name: str) -> None:
    reference = Reference(case(name))

    def losses(group: str, unit: int, gate: float) -> Array:
        tensors = gated(reference, group, unit, gate)
        pairs = zip(reference.case.inputs, reference.case.labels, strict=True)
        return np.array([
            float(reference.loss(functional_call(reference.case.module, tensors, (x,)).detach(), label))
            for x, label in pairs
        ])  # fmt: skip

    for group in reference.case.groups:
        summed = sum(products(reference, slot, group) for slot in group.slots)
        slopes = [
            (losses(group.name, unit, 1 + STEP) - losses(group.name, unit, 1 - STEP)) / (2 * STEP)
            for unit in range(group.size)
        ]
        np.testing.assert_allclose(summed, np.stack(slopes), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("name", "temperature"), [("grouped queries", 1.0), ("transposed", 5.0)])
def test_grasp_is_how_the_gradient_norm_changes_with_a_gate(name: str, temperature: float) -> None:
    reference = Reference(case(name), cross_entropy(temperature))

    def half_norm(group: str, unit: int, gate: float) -> float:
        tensors = gated(reference, group, unit, gate)
        flat = torch.cat([tensors[n].flatten() for n in reference.parameters]).requires_grad_()
        (gradient,) = torch.autograd.grad(reference.mean_loss(flat), flat)
        return float(gradient.square().sum()) / 2

    for group, wanted in scores_of(reference, "grasp").items():
        slopes = [
            (half_norm(group, unit, 1 + STEP) - half_norm(group, unit, 1 - STEP)) / (2 * STEP)
            for unit in range(len(wanted))
        ]
        np.testing.assert_allclose(wanted, slopes, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_through_a_consumer_activations_and_weights_have_the_same_products(name: str) -> None:
    reference = Reference(case(name))
    for group in reference.case.groups:
        for slot in reference.consumers(group):
            of_activations = activation_products(reference, slot, group)
            np.testing.assert_allclose(of_activations, products(reference, slot, group), atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_contributions_of_all_units_are_the_output_of_the_consumer(name: str) -> None:
    reference = Reference(case(name))
    for group in reference.case.groups:
        outputs = []
        for slot in reference.consumers(group):
            module = reference.module_of(slot)
            # Other inputs of a concatenation are no part of the group.
            own = torch.tensor(sorted(itertools.chain(*reference.places(slot, group))))
            for x in reference.given[module]:
                dim = x.dim() - 1 if isinstance(module, nn.Linear) else 1
                seen = torch.zeros_like(x).index_copy(dim, own, x.index_select(dim, own))
                bias = 0 if module.bias is None else module(torch.zeros_like(x))
                outputs.append((module(seen) - bias).detach().flatten().numpy())
        if outputs:
            np.testing.assert_allclose(
                reference.contributions(group).sum(1), np.concatenate(outputs), atol=1e-12
            )


def soft_threshold(columns: Array, penalty: float) -> Array:
    """The LASSO by coordinate descent."""
    gram = columns.T @ columns
    wanted = gram.sum(1)
    beta = np.zeros(len(gram))
    for _ in range(500):
        for k in range(len(gram)):
            rest = wanted[k] - gram[k] @ beta + gram[k, k] * beta[k]
            beta[k] = np.sign(rest) * max(abs(rest) - penalty, 0) / gram[k, k]
    return beta


@pytest.mark.parametrize("name", ["grouped", "attention"])
def test_the_path_enters_where_coordinate_descent_leaves_zero(name: str) -> None:
    reference = Reference(case(name))
    for group, entered in scores_of(reference, "cp").items():
        columns = reference.contributions(reference.case.space.by_name[group])
        for unit, penalty in enumerate(entered):
            assert soft_threshold(columns, penalty * (1 + 1e-4))[unit] == 0
            assert soft_threshold(columns, penalty * (1 - 1e-4))[unit] != 0


def test_orthogonal_columns_enter_and_go_by_their_norms() -> None:
    norms = np.array([3.0, 0.0, 5.0, 1.0, 2.0])
    columns = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 5)))[0] * norms
    np.testing.assert_allclose(entries(columns), norms**2, atol=1e-9)
    assert thrown(columns).tolist() == [3, 0, 4, 1, 2]


def test_columns_that_cancel_go_together() -> None:
    """One alone is expensive; then its opposite brings the sum back to nothing."""
    columns = np.array([[2.0, 0], [-2, 0], [0, 2.5]]).T
    assert thrown(columns).tolist() == [0, 1, 2]


def test_losses_are_those_of_torch() -> None:
    outputs = torch.randn(1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for temperature in (1.0, 200.0):
        found = cross_entropy(temperature)(outputs, 2)
        torch.testing.assert_close(found, F.cross_entropy(outputs / temperature, torch.tensor([2])))

"""What cutting does to the loss and to the gradient's norm, against plain loops and an explicit Hessian."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from criteria_checks import check, everywhere, many_of, reference_of
from criteria_networks import case
from criteria_reference import Reference, cross_entropy, squared_error
from torch import Tensor

from prunecli.losses import Loss, drawn, scores_in


@everywhere
@pytest.mark.parametrize("criterion", ["loss-preservation", "loss-magnitude", "grasp", "grasp-abs"])
def test_scores_are_those_of_the_reference(criterion: str, name: str, stage: str, dtype: torch.dtype) -> None:
    check(criterion, reference_of(name, stage), dtype)


@pytest.mark.parametrize("temperature", [5.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_temperature_divides_the_logits(temperature: float, dtype: torch.dtype) -> None:
    reference = Reference(case("grouped queries"), cross_entropy(temperature))
    for criterion in ("grasp", "loss-preservation"):
        check(criterion, reference, dtype, loss=Loss("cross-entropy", temperature))


@pytest.mark.parametrize("rule", ["mean", "max", "first"])
@pytest.mark.parametrize("criterion", ["loss-preservation", "loss-magnitude", "grasp"])
def test_slots_are_reduced_before_the_finish(criterion: str, rule: str) -> None:
    for name in ("residual", "transposed"):
        check(criterion, reference_of(name, "dense"), torch.float64, reduce=rule)


@pytest.mark.parametrize("options", [{}, {"memory": 1}])
@pytest.mark.parametrize("criterion", ["loss-magnitude", "grasp"])
def test_every_chunk_of_samples_counts(criterion: str, options: dict[str, Any]) -> None:
    check(criterion, many_of("grouped queries"), torch.float64, **options)


def test_mse_is_to_the_labels_as_ones_and_zeros() -> None:
    reference = Reference(case("grouped queries"), squared_error)
    for criterion in ("grasp", "loss-preservation"):
        check(criterion, reference, torch.float64, loss=Loss("mse"))


def test_a_function_of_the_users_gives_the_mean_of_a_batch() -> None:
    def absolute(outputs: Any, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return (outputs - labels[:, None]).abs().mean()

    reference = Reference(case("transposed"), lambda outputs, label: (outputs - label).abs().mean())
    check("loss-preservation", reference, torch.float64, loss=Loss("own", function=absolute))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_compares_with_the_dense_network(temperature: float) -> None:
    """Labels stand for samples here: the reference looks up what the dense network said of each."""
    dense = case("attention")
    taught = [(dense.module(x)[0] / temperature).softmax(0).detach() for x in dense.inputs]

    def divergence(outputs: Tensor, sample: int) -> Tensor:
        found = (outputs[0] / temperature).softmax(0)
        return (taught[sample] * (taught[sample] / found).log()).sum()

    small = replace(dense.halved(), labels=tuple(range(len(taught))))
    loss = Loss("kd", temperature, teacher=dense.module)
    for criterion in ("grasp", "loss-magnitude"):
        check(criterion, Reference(small, divergence), torch.float64, labelled=False, loss=loss)


def test_the_loss_of_a_sample_is_the_mean_over_its_positions() -> None:
    """With a label for each position, drawn from what the network says of it."""
    dense = case("transposed")
    module = deepcopy(dense.module)
    module.pooled = False  # type: ignore[assignment]
    labels = [drawn(scores_in(module(x), 1), 0, i)[0].tolist() for i, x in enumerate(dense.inputs)]

    def loss(outputs: Tensor, sample: int) -> Tensor:
        pairs = zip(outputs[0].flatten(1).T, labels[sample], strict=True)
        return torch.stack([cross_entropy()(row[None], label) for row, label in pairs]).mean()

    mapped = replace(dense, module=module, labels=tuple(range(len(labels))))
    for criterion in ("loss-preservation", "taylor"):
        check(criterion, Reference(mapped, loss), torch.float64, labelled=False, loss=Loss("cross-entropy"))

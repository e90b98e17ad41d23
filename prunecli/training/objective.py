"""What training makes small: the loss on the labels, and the distance from the dense network.

Distillation (Hinton, Vinyals and Dean 2015): ``T^2 KL(softmax(t / T) || softmax(s / T))`` between the scores
of the dense network and those of the trained one; ``T^2`` keeps its gradient as large as that of the labels.
Outputs that are no scores of classes are compared by their squared difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.coupling.recording import outputs_in
from prunecli.data.samples import Batch
from prunecli.errors import InputError, UsageError, unknown_name
from prunecli.losses import Loss, fitting_loss, from_file, scores_in
from prunecli.training.settings import Settings

CROSS_ENTROPY, MSE = "cross-entropy", "mse"


@dataclass(frozen=True)
class Objective:
    """``loss`` on the labels (None: there are none); ``share`` of the sum is the distance from ``teacher``.
    ``scores``: whether outputs are scores of classes.
    """

    loss: Loss | None
    teacher: nn.Module | None = None
    share: float = 0.0
    temperature: float = 4.0
    scores: bool = True

    def taught(self, batch: Batch) -> Any:
        """The outputs of the dense network, or None."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            return batch.inputs.run(self.teacher)

    def value(self, outputs: Any, batch: Batch, taught: Any) -> Tensor:
        """The sum over the samples of ``batch``, so that micro-batches add up."""
        parts: list[Tensor] = []
        if self.loss is not None:
            targets = tuple(target.to(_device_of(outputs)) for target in self.loss.targets(outputs, batch, 0))
            parts.append((1 - self.share) * self.loss.value(outputs, targets, len(batch)))
        if self.teacher is not None:
            parts.append(self.share * self._distance(outputs, taught, len(batch)))
        return torch.stack(parts).sum()

    def _distance(self, outputs: Any, taught: Any, count: int) -> Tensor:
        if not self.scores:
            return squared_difference(outputs, taught) * count
        own, wanted = scores_in(outputs, count), scores_in(taught, count)
        if own.shape != wanted.shape:
            raise InputError(f"the dense network gives {list(wanted.shape)}, this one {list(own.shape)}")
        return divergence(own, wanted, self.temperature)


def _device_of(outputs: Any) -> torch.device:
    return next((tensor.device for tensor in outputs_in(outputs)), torch.device("cpu"))


def divergence(scores: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """``T^2 KL`` of ``scores`` from ``wanted``, both ``[n, positions, classes]``: the mean over positions,
    the sum over samples.
    """
    own, other = ((one / temperature).log_softmax(-1) for one in (scores, wanted))
    total = functional.kl_div(own, other, reduction="sum", log_target=True)
    return total * (temperature**2 / scores.shape[1])


def squared_difference(outputs: Any, wanted: Any) -> Tensor:
    """The mean of it over the elements of each floating output, the sum over outputs."""
    found, other = (
        [tensor for tensor in outputs_in(given) if tensor.is_floating_point()] for given in (outputs, wanted)
    )
    shapes = [[list(tensor.shape) for tensor in given] for given in (other, found)]
    if shapes[0] != shapes[1] or not found:
        raise InputError(f"the dense network gives {shapes[0]}, this one {shapes[1]}")
    pairs = zip(found, other, strict=True)
    return torch.stack([functional.mse_loss(own, right) for own, right in pairs]).sum()


def objective(
    settings: Settings, example: Any, samples: int, labelled: bool, teacher: nn.Module | None
) -> Objective:
    """What ``settings`` ask for, of a network that gives ``example`` on some ``samples``. Raises
    ``UsageError`` where there is nothing to learn from.
    """
    suits = fitting_loss(example, samples)
    learns = teacher if settings.distill > 0 else None
    loss = _on_labels(settings, suits, labelled)
    if loss is not None and learns is not None and settings.distill == 1:
        loss = None
    if loss is None and learns is None:
        raise UsageError(
            "the data has no labels, and there is no dense network to learn from", "--against DENSE"
        )
    share = 0.0 if learns is None else (1.0 if loss is None else settings.distill)
    return Objective(loss, learns, share, settings.distill_temperature, suits == CROSS_ENTROPY)


def _on_labels(settings: Settings, suits: str, labelled: bool) -> Loss | None:
    name = settings.loss or suits
    if name not in (CROSS_ENTROPY, MSE):
        if ".py:" not in name:
            raise unknown_name("loss", name, (CROSS_ENTROPY, MSE))
        return from_file(name)
    if not labelled:
        return None
    return Loss(name, smoothing=settings.label_smoothing if name == CROSS_ENTROPY else 0.0)

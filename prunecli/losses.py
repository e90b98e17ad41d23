"""Losses: what is asked of a network on samples, as one number.

The loss of a sample is the mean over its positions (one, for a classifier); that of a batch is the *sum* over
its samples, so that batches of any size add up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunecli.coupling.recording import outputs_in
from prunecli.data.samples import Batch
from prunecli.errors import InputError, UsageError
from prunecli.networks.factories import Foreign, find_function

LOSSES = ("cross-entropy", "mse", "kd")

Targets = tuple[Tensor, ...]


@dataclass(frozen=True)
class Loss:
    """``name`` is one of :data:`LOSSES`, or ``function`` where the user's own is called with the network's
    output and the labels (None where there are none) of a batch, for its mean loss.

    ``temperature`` divides the scores of classes. What samples lack in labels is drawn with ``seed`` from
    what the network itself predicts: classes from its softmax, or its output and normal noise for ``mse``.
    ``teacher`` is what ``kd`` compares with. ``smoothing`` is the share of a label that goes to all classes.
    """

    name: str
    temperature: float = 1.0
    seed: int = 0
    teacher: nn.Module | None = None
    function: Callable[[Any, Tensor | None], Any] | None = None
    smoothing: float = 0.0

    def targets(self, outputs: Any, batch: Batch, first: int) -> Targets:
        """What the outputs of ``batch``, whose samples are numbered from ``first``, should be; each tensor
        has the samples along its first dimension. Raises ``InputError`` for labels that do not fit.
        """
        if self.function is not None:
            return () if batch.labels is None else (batch.labels,)
        if self.name == "mse":
            return self._values(outputs, batch, first)
        scores = scores_in(outputs, len(batch))
        if self.name == "kd":
            return (self._taught(batch, scores),)
        if batch.labels is None:
            return (drawn(scores, self.seed, first),)
        return (_fitting(batch.labels, scores),)

    def value(self, outputs: Any, targets: Targets, count: int) -> Tensor:
        """The sum of the losses of ``count`` samples. Raises ``InputError`` where the user's function gives
        no number.
        """
        if self.function is not None:
            return _number(self.function(outputs, targets[0] if targets else None)) * count
        if self.name == "mse":
            found = _floating(outputs)
            return (
                sum((functional.mse_loss(o, t) for o, t in zip(found, targets, strict=True)), _ZERO) * count
            )
        scores = scores_in(outputs, count) / self.temperature
        if self.name == "kd":
            logs = scores.log_softmax(-1)
            return (targets[0] * (targets[0].clamp(min=1e-38).log() - logs)).sum(-1).mean(1).sum()
        losses = functional.cross_entropy(
            scores.flatten(0, 1), targets[0].flatten(), reduction="none", label_smoothing=self.smoothing
        )
        return losses.reshape(count, -1).mean(1).sum()

    def _values(self, outputs: Any, batch: Batch, first: int) -> Targets:
        found = _floating(outputs)
        if batch.labels is None:
            noise = _each(self.seed, first, len(batch), lambda g: [_normal(o, len(batch), g) for o in found])
            return tuple(
                output + torch.cat(column).to(output)
                for output, column in zip(found, zip(*noise, strict=True), strict=True)
            )
        if len(found) != 1:
            raise InputError(
                f"mse to labels needs one output, the network gives {len(found)}", "--loss FILE.py:function"
            )
        scores = scores_in(outputs, len(batch))
        hot = functional.one_hot(_fitting(batch.labels, scores), scores.shape[-1])
        return (hot.to(found[0]).reshape(found[0].shape),)

    def _taught(self, batch: Batch, scores: Tensor) -> Tensor:
        if self.teacher is None:
            raise UsageError("kd needs the dense network", "--against DENSE")
        wanted = scores_in(batch.inputs.run(self.teacher), len(batch))
        if wanted.shape != scores.shape:
            raise InputError(f"the dense network gives {list(wanted.shape)}, this one {list(scores.shape)}")
        return (wanted / self.temperature).softmax(-1)


_ZERO = torch.zeros(())


def from_file(text: str, temperature: float = 1.0, seed: int = 0) -> Loss:
    """The user's own, ``FILE.py:function``; what it raises is an ``InputError``."""
    where, _, name = text.rpartition(":")
    told = f"{Path(where).name}:{name}"
    function = find_function(Path(where), name, "--loss")

    def value(outputs: Any, labels: Tensor | None) -> Any:
        with Foreign(told, "mend the function"):
            return function(outputs, labels)

    return Loss(told, temperature, seed, function=value)


def fitting_loss(outputs: Any, samples: int) -> str:
    """The loss for a network with these outputs: ``cross-entropy`` for a classifier, else ``mse``."""
    found = _floating(outputs)
    is_classifier = len(found) == 1 and found[0].dim() == 2 and found[0].shape[0] == samples
    return "cross-entropy" if is_classifier and found[0].shape[1] > 1 else "mse"


def required_difference(network: nn.Module, teacher: nn.Module) -> None:
    """Raises ``UsageError`` where ``network`` has the weights of ``teacher``: its distillation loss, and the
    gradient of that, are then zero.
    """
    own, other = network.state_dict(), teacher.state_dict()
    if own.keys() == other.keys() and all(torch.equal(own[n].cpu(), other[n].cpu()) for n in own):
        raise UsageError(
            "--loss kd compares with the dense network, and this one does not differ from it",
            "--loss cross-entropy, which draws labels from the network where there are none",
        )


def scores_in(outputs: Any, samples: int) -> Tensor:
    """The scores of classes, ``[samples, positions, classes]``: the first floating output. Classes are its
    second dimension (``[n, classes, h, w]``), or the last of three (``[n, tokens, classes]``).

    Raises ``InputError`` where it is none.
    """
    found = [output for output in _floating(outputs) if output.dim() > 1]
    if not found or found[0].shape[0] != samples:
        raise InputError("the network's output is not one row of scores per sample", "--loss mse")
    first = found[0] if found[0].dim() < 4 else found[0].movedim(1, -1)
    return first.reshape(samples, -1, first.shape[-1])


def drawn(scores: Tensor, seed: int, first: int) -> Tensor:
    """A class per position, int64 ``[n, positions]``, with the probabilities of the softmax of ``scores``.

    What sample ``i`` gets depends on ``seed``, ``i`` and its scores alone.
    """
    count, positions, classes = scores.shape
    uniform = torch.stack(
        _each(seed, first, count, lambda g: torch.rand(positions, generator=g, dtype=torch.float64))
    )
    reached = scores.detach().double().softmax(-1).cumsum(-1)
    wanted = uniform.to(scores.device)[..., None] * reached[..., -1:]
    return torch.searchsorted(reached, wanted, right=True)[..., 0].clamp(max=classes - 1)


def _each(seed: int, first: int, count: int, draw: Callable[[torch.Generator], Any]) -> list[Any]:
    """What ``draw`` makes with a generator for every sample."""
    return [draw(torch.Generator().manual_seed(_mixed(seed, first + index))) for index in range(count)]


def _mixed(seed: int, sample: int) -> int:
    """A seed for one sample: torch's generator looks at 32 bits."""
    digest = hashlib.sha256(f"{seed}:{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def _normal(output: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Noise for one sample of ``output``; for all of it where it has no dimension of samples."""
    if output.dim() and output.shape[0] == samples:
        return torch.randn((1, *output.shape[1:]), generator=generator)
    return torch.randn(output.shape, generator=generator)


def _fitting(labels: Tensor, scores: Tensor) -> Tensor:
    """``labels [n]`` as ``[n, 1]``."""
    positions, classes = scores.shape[1:]
    if positions > 1:
        raise InputError(
            f"labels are one per sample, the network predicts {positions} classes for each",
            "--loss FILE.py:function",
        )
    if int(labels.max()) >= classes:
        raise InputError(
            f"the data has label {int(labels.max())}, the network {classes} classes",
            "classes count from 0; is it the network for this data?",
        )
    return labels.to(scores.device).reshape(-1, 1)


def _floating(outputs: Any) -> list[Tensor]:
    found = [output for output in outputs_in(outputs) if output.is_floating_point()]
    if not found:
        raise InputError("the network gives no floating output to take a loss of")
    return found


def _number(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        given = (
            f"a tensor of shape {list(value.shape)}"
            if isinstance(value, Tensor)
            else f"a {type(value).__name__}"
        )
        raise InputError(
            f"the loss function gave {given}, not one number",
            "return the mean over the batch, like losses.mean()",
        )
    return value.reshape(())

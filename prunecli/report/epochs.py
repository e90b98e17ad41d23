"""What is told of training, wherever it takes place: each epoch, and each stage of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prunecli.checkpoint.specs import Scalar
from prunecli.report.figures import DataFacts, Quality


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch, counted from 1. ``loss`` is what was made small, per sample, and ``top1`` the accuracy, both
    while training (augmented, in train mode, weights changing); ``quality`` that on the validation data
    afterwards, of the averaged weights where there are such. ``lr`` is the learning rate of its last step,
    ``seconds`` what training took without the validation, and ``samples`` how many it saw.
    """

    epoch: int
    loss: float
    top1: float | None
    lr: float
    seconds: float
    samples: int
    quality: Quality | None = None


@dataclass(frozen=True, slots=True)
class Sparsity:
    """What a regularizer did. ``values`` are its numbers; ``told`` what it says of itself at the end
    (``greg-1`` and ``greg-2``: delta, the lambda reached, kept / picked magnitude in the slot where that is
    smallest, and whether the picked units are gone: ``converged``). ``target`` and ``picked``: what was
    picked for, and how many units.
    """

    regularizer: str
    values: Mapping[str, float]
    told: Mapping[str, Scalar] = field(default_factory=dict)
    target: str | None = None
    picked: int | None = None


@dataclass(frozen=True, slots=True)
class TrainedStage:
    """One stage of training within ``prune run``; ``name`` is that of its network in ``quality``.

    ``settings``, ``data``, ``validation``, ``device``, ``threads``, ``epochs`` and ``best`` as ``prune
    finetune`` tells them, and ``sparsity`` as ``prune sparsify``; ``distilled``: whether it learned from the
    dense network. ``seconds`` is what its epochs took, those before a ``--resume`` included.
    """

    name: str
    settings: Mapping[str, Scalar | tuple[Scalar, ...]]
    data: DataFacts
    validation: DataFacts | None
    distilled: bool
    device: str
    threads: int
    epochs: tuple[EpochRow, ...]
    seconds: float
    best: int | None = None
    sparsity: Sparsity | None = None

"""Tiny networks, data and a loop around them, for the tests of training/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.data.samples import Batch, Samples
from prunecli.inputs import Inputs
from prunecli.losses import Loss
from prunecli.quality import measure
from prunecli.report.figures import Quality
from prunecli.training.deck import Deck
from prunecli.training.distributed import ALONE, Team
from prunecli.training.kept import Keeping
from prunecli.training.loop import Loop
from prunecli.training.objective import Objective
from prunecli.training.optimizing import average_of, optimizer_for, scaler_for, schedule_for
from prunecli.training.order import steps_per_epoch
from prunecli.training.settings import Settings
from prunecli.training.step import Stepper

CPU = torch.device("cpu")
CLASSES = 3


class Small(nn.Module):
    """Two convolutions with a norm between and some dropout, so that random numbers matter."""

    def __init__(self, norm: str = "batch", dropout: float = 0.2) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4) if norm == "batch" else nn.GroupNorm(2, 4)
        self.second = nn.Conv2d(4, 4, 3)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.norm(self.first(x)).relu()).relu().mean((2, 3))
        return self.head(self.dropout(x))


def small(norm: str = "batch", dropout: float = 0.2, seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small(norm, dropout)


def pictures(count: int = 23, seed: int = 1, labelled: bool = True) -> Samples:
    """Classes that can be told apart: the brightness grows with the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = torch.randn(count, 1, 6, 6, generator=generator) + labels[:, None, None, None]
    return Samples((Batch(Inputs((images,)), labels if labelled else None),), "made up", classes=CLASSES)


def judge(network: nn.Module) -> Quality:
    return measure({"": network}, pictures(9, 2))[""]


def loop_of(
    network: nn.Module,
    samples: Samples | None = None,
    keeping: Keeping | None = None,
    objective: Objective | None = None,
    regularizer: Any = None,
    team: Team = ALONE,
    **settings: Any,
) -> Loop:
    chosen = Settings.of({"epochs": 3, "batch_size": 5, "lr": 0.05, **settings})
    deck = Deck(samples or pictures())
    optimizer = optimizer_for(network, chosen)
    schedule = schedule_for(optimizer, chosen, steps_per_epoch(len(deck), chosen.batch_size * team.size))
    aim = objective or Objective(Loss("cross-entropy", smoothing=chosen.label_smoothing))
    stepper = Stepper(
        network, aim, chosen, CPU, optimizer, schedule, scaler_for(CPU, chosen), average_of(network, chosen),
        regularizer, team=team,
    )  # fmt: skip
    if team.size > 1:
        stepper.unite(deck.take(torch.arange(2)))
    return Loop(stepper, deck, judge, keeping)


def kept_at(folder: Path, *, resume: bool = False, seconds: float = 0.0) -> Keeping:
    return Keeping(folder / "run.state.pt", {"lr": 0.05}, resume, seconds, folder / "run.metrics.jsonl")


def equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)

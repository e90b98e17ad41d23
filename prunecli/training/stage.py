"""A network trained, from before its first step to after its last: what ``prune finetune`` does, and ``prune
run`` before and after the cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from prunecli.assembly import evaluating
from prunecli.clock import Clock
from prunecli.data.specs import shown
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.quality import measure
from prunecli.report.epochs import EpochRow, Sparsity, TrainedStage
from prunecli.report.figures import Quality
from prunecli.training.data import TrainingData
from prunecli.training.deck import Deck
from prunecli.training.distributed import ALONE, Team
from prunecli.training.hooks import Sparsifier
from prunecli.training.kept import Keeping
from prunecli.training.loop import Loop
from prunecli.training.norms import recalibrated
from prunecli.training.objective import Objective, objective
from prunecli.training.optimizing import average_of, optimizer_for, scaler_for, schedule_for
from prunecli.training.order import steps_per_epoch
from prunecli.training.settings import Settings
from prunecli.training.sharding import part_of, together
from prunecli.training.step import Stepper

_THIS = "the network"
_BATCH = 64
"""Samples that go through the network at once where it is measured."""


@dataclass(frozen=True)
class Trained:
    """``network`` in eval mode, on the device it was trained on."""

    network: nn.Module
    rows: tuple[EpochRow, ...]
    best: int | None
    notes: tuple[str, ...]
    sparsity: Sparsity | None = None


@dataclass(frozen=True)
class Stage:
    """How networks are trained: on which data, to which settings, watched by whom, and whether units are made
    small by it.
    """

    data: TrainingData
    settings: Settings
    device: torch.device
    clock: Clock
    on_epoch: Callable[[EpochRow], None] | None = None
    team: Team = ALONE
    sparsifier: Sparsifier | None = None

    def trained(self, network: nn.Module, teacher: nn.Module | None, keeping: Keeping | None) -> Trained:
        """Train ``network`` in place; ``teacher`` is the dense network to learn from, both on the device.
        Raises ``InputError`` for data that does not suit it, and as :meth:`Loop.run`.
        """
        deck = Deck(self.data.trained)
        aim = self._objective(network, deck, teacher)
        watching = (self.clock.progress, self.on_epoch) if self.team.leads else (None, None)
        loop = Loop(self._stepper(network, aim, deck), deck, self.figures, keeping, *watching)
        with self.clock.stage("train"):
            result = loop.run()
        notes = [*self.team.notes(network), *loop.stepper.notes]
        if self.settings.recalibrate:
            with self.clock.stage("recalibrate"):
                notes.append(recalibrated(result, self.data.trained, self.device))
                self.team.share_buffers(result)
        sparsity, told = (None, ()) if self.sparsifier is None else self.sparsifier.told()
        return Trained(result, tuple(loop.rows), loop.best, (*notes, *told), sparsity)

    def figures(self, network: nn.Module) -> Quality | None:
        """How good it is on what is judged by, all processes together."""
        if self.data.judged is None:
            return None
        own, found = part_of(self.data.judged, self.team.rank, self.team.size), None
        if own is not None:
            found = measure({_THIS: network}, own, batch_size=_BATCH)[_THIS]
        if self.team.size > 1:
            found = together(self.team.gathered(found))
        return None if found is None or found.is_empty else found

    def compared(self, networks: Mapping[str, nn.Module], dense: nn.Module) -> dict[str, Quality]:
        """How good they are, and how near to ``dense``; nothing where there is nothing to judge by."""
        if self.data.judged is None:
            return {}
        return measure(networks, self.data.judged, against=dense, batch_size=_BATCH)

    def identity(self, transform: str | None, option: str = "--") -> dict[str, Any]:
        """Of all that must be the same for the same weights to come out, the part that is the training's;
        ``option`` is how one gives a setting.
        """
        named = {name: in_words(value) for name, value in self.settings.to_json().items()}
        batch = self.team.size * named.pop("batch_size")
        return {
            "--batch-size times processes": batch,
            "--data": f"{self.data.origin}, {len(self.data.trained)} samples",
            "--transform": transform,
            **{f"{option}{name.replace('_', '-')}": value for name, value in named.items()},
            **self._sparsifying,
        }

    @property
    def _sparsifying(self) -> Mapping[str, Any]:
        return {} if self.sparsifier is None else self.sparsifier.identity

    def told_settings(self) -> dict[str, Any]:
        """For a report; no paths."""
        named = self.settings.to_json()
        named |= {"loss": named["loss"] and shown(named["loss"])}
        return {name: tuple(v) if isinstance(v, list) else v for name, v in named.items()}

    def options(self, prefix: str) -> dict[str, Any]:
        """What shaped the weights, for the recipe; no paths."""
        machine: dict[str, Any] = {"device": str(self.device), "threads": torch.get_num_threads()}
        if self.team.size > 1:
            machine["processes"] = self.team.size
        data = {"data": self.data.origin, "samples": len(self.data.trained)}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in self.told_settings().items()}
        more = {name.lstrip("-"): value for name, value in self._sparsifying.items()}
        return {f"{prefix}.{name}": value for name, value in (settings | data | machine | more).items()}

    def told(self, name: str, found: Trained, distilled: bool) -> TrainedStage:
        """For the report of a run that it is a part of."""
        return TrainedStage(
            name, self.told_settings(), self.data.facts, self.data.judged_facts,
            distilled and self.settings.distill > 0, str(self.device), torch.get_num_threads(), found.rows,
            sum(row.seconds for row in found.rows), found.best, found.sparsity,
        )  # fmt: skip

    def _objective(self, network: nn.Module, deck: Deck, teacher: nn.Module | None) -> Objective:
        """By what the network gives on its first samples."""
        batch = deck.take(torch.arange(min(2, len(deck))))
        moved = batch.inputs.map(lambda tensor: tensor.to(self.device))
        try:
            with evaluating(network), torch.no_grad():
                example = moved.run(network)
        except FORWARD_ERRORS as error:
            raise InputError(
                f"the network does not run on {len(batch)} of the samples: {first_line(error)}",
                "data of another shape, or another --input",
            ) from error
        return objective(self.settings, example, len(batch), self.data.trained.labelled, teacher)

    def _stepper(self, network: nn.Module, aim: Objective, deck: Deck) -> Stepper:
        settings = self.settings
        optimizer = optimizer_for(network, settings)
        steps = steps_per_epoch(len(deck), settings.batch_size * self.team.size)
        regularizer = None
        if self.sparsifier is not None:
            regularizer = self.sparsifier.begin(network, steps * settings.epochs)
        stepper = Stepper(
            network, aim, settings, self.device, optimizer, schedule_for(optimizer, settings, steps),
            scaler_for(self.device, settings), average_of(network, settings), regularizer, team=self.team,
        )  # fmt: skip
        if self.team.size > 1:
            stepper.unite(deck.take(torch.arange(min(2, len(deck)))))
        return stepper


def in_words(value: Any) -> Any:
    """A setting as one types it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

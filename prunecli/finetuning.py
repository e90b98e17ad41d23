"""``prune finetune``: a checkpoint, dense or pruned, trained on data and written like all outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from prunecli import __version__
from prunecli.assembly import evaluating, working_copy
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.locating import bytes_of
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.clock import Clock
from prunecli.configuring import fitted
from prunecli.data import Samples, open_data
from prunecli.data.specs import is_divided, shown
from prunecli.errors import InputError, UsageError, first_line
from prunecli.opening import Naming, Subject, open_against
from prunecli.proofs import FORWARD_ERRORS
from prunecli.quality import measure
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.model import Output
from prunecli.report.trained import EpochRow, Finetuning
from prunecli.saving import Saving, stored
from prunecli.subjects import require_prunable
from prunecli.threads import limited
from prunecli.training.deck import Deck
from prunecli.training.distributed import ALONE, Team, joined
from prunecli.training.loop import SAVE_SECONDS, Keeping, Loop
from prunecli.training.norms import recalibrated
from prunecli.training.objective import objective
from prunecli.training.optimizing import average_of, optimizer_for, scaler_for, schedule_for
from prunecli.training.order import steps_per_epoch
from prunecli.training.settings import Settings
from prunecli.training.sharding import part_of, together
from prunecli.training.state import remove_state
from prunecli.training.step import Stepper
from prunecli.training.subject import CHANGED_BY, Trainee, open_trainee, recipe_after

_THIS = "the network"
_BATCH = 64
"""Samples that go through the network at once where it is measured."""


@dataclass(frozen=True)
class Finetuned:
    """A trained network. ``model`` is the ordinary class in eval mode, on the CPU."""

    model: nn.Module
    report: Finetuning
    _trainee: Trainee = field(repr=False)
    _recipe: Recipe = field(repr=False)
    _state: Path | None = field(repr=False, default=None)
    _writes: bool = field(repr=False, default=True)

    def save(self, path: str | Path, *, force: bool = False) -> Finetuning:
        """Write the network as one safetensors file (a model directory, if it came as one) that
        :func:`prunecli.load` returns, and return the report of it. The state of the run is then removed.

        It is reloaded in a fresh process and its outputs compared before it takes its place. Raises
        ``UsageError`` if ``path`` exists without ``force``, ``ImpossibleError`` if the reloaded network
        differs, ``OutputError`` if it cannot be written. Of several processes that trained together the first
        writes; in the others this does nothing.
        """
        if not self._writes:
            return self.report
        began = perf_counter()
        dense = self._trainee.dense
        written = None
        if dense.directory is not None:
            written = fitted(dense.directory, self.model, self._recipe.patches, dense.specs)
        saving = Saving(dense, self.model, self._recipe, written, 0)
        digest = saving.write(Path(path), force)
        if self._state is not None:
            remove_state(self._state)
        return replace(
            self.report,
            output=Output(Path(path).name, digest, bytes_of(Path(path))),
            proofs=(*self.report.proofs, *saving.proofs),
            notes=(*self.report.notes, *saving.notes),
            timings={**self.report.timings, "write and reload": perf_counter() - began},
        )


def finetune(
    model_or_path: nn.Module | str | Path,
    *,
    data: str | Samples,
    eval_data: str | Samples | None = None,
    samples: int | None = None,
    transform: str | None = None,
    against: nn.Module | str | Path | None = None,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
    state: str | Path | None = None,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
    metrics: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
    unsafe_load: bool = False,
    **settings: Any,
) -> Finetuned:
    """Train a checkpoint (dense or pruned) or a module on ``data``, as ``--data`` takes it; the input is
    never changed. ``settings`` are the fields of :class:`prunecli.training.settings.Settings`: ``epochs``,
    ``lr``, ...

    ``samples`` of the data, chosen by the seed; None takes all. Figures are taken on ``eval_data``, or on the
    test part of data that comes divided. ``against`` is the dense network to learn from (distillation).
    ``state`` is the file that holds the run after every epoch and every ``save_seconds``; with ``resume`` it
    goes on from there. ``metrics`` gets one line of JSON per epoch. Raises ``UsageError``, ``InputError``,
    ``ImpossibleError`` where training diverges, and ``OutputError`` where the state cannot be written.

    Processes that torchrun started train together, ``batch_size`` samples each; the first of them writes and
    tells. ``ToldElsewhereError`` is raised in those that end because another did.
    """
    chosen = Settings.of(settings)
    if resume and state is None:
        raise UsageError("resume needs the state of the run", "state=FILE")
    with limited(threads), joined(device, None if state is None else Path(state)) as (team, where):
        clock = Clock(progress if team.leads else None)
        with clock.stage("read"):
            naming = Naming(example_inputs, arch, arch_args, inputs, unsafe_load)
            trainee = open_trainee(model_or_path, naming)
            require_prunable(trainee.dense)
            teacher = None if against is None else open_against(against, naming, trainee.subject)
        with clock.stage("data"):
            found = _Data.opened(data, eval_data, trainee.specs, samples, transform, chosen.seed)
        run = _Run(trainee, teacher, found, chosen, where, clock, progress, on_epoch, team)
        keeping = None
        if state is not None:
            kept = None if metrics is None else Path(metrics)
            keeping = Keeping(Path(state), run.identity(transform), resume, save_seconds, kept)
        return run.finetuned(keeping)


@dataclass(frozen=True)
class _Data:
    """``judged``: what figures are taken on."""

    trained: Samples
    judged: Samples | None
    notes: tuple[str, ...] = ()

    @staticmethod
    def opened(
        data: str | Samples,
        eval_data: str | Samples | None,
        specs: tuple[InputSpec, ...],
        samples: int | None,
        transform: str | None,
        seed: int,
    ) -> _Data:
        def read(given: str | Samples, part: Any, count: int | None) -> Samples:
            if isinstance(given, Samples):
                return given
            return open_data(given, specs, samples=count, seed=seed, transform=transform, part=part)

        trained = read(data, "train", samples)
        if eval_data is None and isinstance(data, str) and is_divided(data):
            eval_data = data
        if eval_data is None:
            note = "no figures but those of training: the data has no test part (--eval-data SPEC)"
            return _Data(trained, None, (note,))
        return _Data(trained, read(eval_data, "test", None))


@dataclass
class _Run:
    """One run: set up, trained, measured, told."""

    trainee: Trainee
    teacher: Subject | None
    data: _Data
    settings: Settings
    device: torch.device
    clock: Clock
    progress: Callable[[str], None] | None
    on_epoch: Callable[[EpochRow], None] | None
    team: Team = ALONE

    def identity(self, transform: str | None) -> dict[str, Any]:
        """All that must be the same for the same weights to come out, but for the machine."""
        source, other = self.trainee.dense.source, self.teacher
        named = {name: _told(value) for name, value in self.settings.to_json().items()}
        batch = self.team.size * named.pop("batch_size")
        return {
            "--batch-size times processes": batch,
            "the checkpoint": _digest(self.trainee.module) if source is None else source.digest,
            "--data": f"{shown(self.data.trained.origin)}, {len(self.data.trained)} samples",
            "--transform": transform,
            "--against": None if other is None else _digest(other.network.module),
            **{f"--{name.replace('_', '-')}": value for name, value in named.items()},
        }

    def finetuned(self, keeping: Keeping | None) -> Finetuned:
        network = self.trainee.working(self.device, self.settings.channels_last)
        network = self.team.synchronised(network, self.device)
        teacher = None if self.teacher is None else working_copy(self.teacher.network.module, self.device)
        if teacher is not None and self.trainee.is_half:
            teacher = teacher.float()
        deck = Deck(self.data.trained)
        with self.clock.stage("evaluate"):
            example, count = self._example(network, deck)
            before, dense = self._figures(network), None if teacher is None else self._figures(teacher)
        aim = objective(self.settings, example, count, self.data.trained.labelled, teacher)
        watching = (self.progress, self.on_epoch) if self.team.leads else (None, None)
        loop = Loop(self._stepper(network, aim, deck), deck, self._figures, keeping, *watching)
        with self.clock.stage("train"):
            trained = loop.run()
        notes = [*self._notes(), *self.team.notes(network), *loop.stepper.notes]
        if self.settings.recalibrate:
            with self.clock.stage("recalibrate"):
                notes.append(recalibrated(trained, self.data.trained, self.device))
                self.team.share_buffers(trained)
        return self._result(trained, loop, before, dense, notes, keeping)

    def _example(self, network: nn.Module, deck: Deck) -> tuple[Any, int]:
        """What the network gives on its first samples."""
        batch = deck.take(torch.arange(min(2, len(deck))))
        moved = batch.inputs.map(lambda tensor: tensor.to(self.device))
        try:
            with evaluating(network), torch.no_grad():
                return moved.run(network), len(batch)
        except FORWARD_ERRORS as error:
            raise InputError(
                f"the network does not run on {len(batch)} of the samples: {first_line(error)}",
                "data of another shape, or another --input",
            ) from error

    def _stepper(self, network: nn.Module, aim: Any, deck: Deck) -> Stepper:
        settings = self.settings
        optimizer = optimizer_for(network, settings)
        steps = steps_per_epoch(len(deck), settings.batch_size * self.team.size)
        stepper = Stepper(
            network, aim, settings, self.device, optimizer, schedule_for(optimizer, settings, steps),
            scaler_for(self.device, settings), average_of(network, settings), team=self.team,
        )  # fmt: skip
        if self.team.size > 1:
            stepper.unite(deck.take(torch.arange(min(2, len(deck)))))
        return stepper

    def _figures(self, network: nn.Module) -> Quality | None:
        if self.data.judged is None:
            return None
        own, found = part_of(self.data.judged, self.team.rank, self.team.size), None
        if own is not None:
            found = measure({_THIS: network}, own, batch_size=_BATCH)[_THIS]
        if self.team.size > 1:
            found = together(self.team.gathered(found))
        return None if found is None or found.is_empty else found

    def _notes(self) -> list[str]:
        judged = () if self.data.judged is None else self.data.judged.notes
        return [*self.data.notes, *self.data.trained.notes, *judged, *self.trainee.notes]

    def _result(
        self, trained: nn.Module, loop: Loop, before: Quality | None, dense: Quality | None,
        notes: list[str], keeping: Keeping | None,
    ) -> Finetuned:  # fmt: skip
        with self.clock.stage("evaluate"):
            after = self._figures(trained)
        model = self.trainee.finished(trained)
        recipe = recipe_after(self.trainee, stored(model, self.trainee.dense), self._options())
        origin = shown(self.data.trained.origin)
        judged = self.data.judged
        report = Finetuning(
            version=__version__,
            command=(),
            checkpoint=self.trainee.dense.source,
            network=self.trainee.dense.facts,
            inputs=self.trainee.dense.report_inputs,
            settings={k: tuple(v) if isinstance(v, list) else v for k, v in self._settings().items()},
            data=DataFacts(origin, len(self.data.trained), self.data.trained.labelled),
            validation=None if judged is None else _facts(judged),
            against=None if self.teacher is None else self.teacher.network.source,
            device=str(self.device),
            threads=torch.get_num_threads(),
            processes=self.team.size,
            epochs=tuple(loop.rows),
            before=before,
            after=after,
            dense=dense,
            best=loop.best,
            changed_by=recipe.changed_by,
            timings=dict(self.clock.seconds),
            notes=tuple(dict.fromkeys(notes)),
        )
        place = None if keeping is None else keeping.path
        return Finetuned(model, report, self.trainee, recipe, place, self.team.leads)

    def _settings(self) -> dict[str, Any]:
        named = self.settings.to_json()
        return named | {"loss": named["loss"] and shown(named["loss"])}

    def _options(self) -> dict[str, Any]:
        """What shaped the weights, for the recipe; no paths."""
        own = {f"{CHANGED_BY}.{name}": value for name, value in self._settings().items()}
        machine: dict[str, Any] = {"device": str(self.device), "threads": torch.get_num_threads()}
        if self.team.size > 1:
            machine["processes"] = self.team.size
        data = {"data": shown(self.data.trained.origin), "samples": len(self.data.trained)}
        return own | {f"{CHANGED_BY}.{name}": value for name, value in (data | machine).items()}


def _facts(samples: Samples) -> DataFacts:
    return DataFacts(shown(samples.origin), len(samples), samples.labelled)


def _told(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _digest(module: nn.Module) -> str:
    found = tensor_digests({name: tensor.cpu() for name, tensor in module.state_dict().items()})
    return sha256("".join(found.values()).encode()).hexdigest()

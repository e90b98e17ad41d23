"""``prune finetune``: a checkpoint, dense or pruned, trained on data and written like all outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from prunecli import __version__
from prunecli.checkpoint.locating import bytes_of
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.configuring import fitted
from prunecli.data import Samples
from prunecli.gates import Figures, Gates, require_passed
from prunecli.gating import median, of_training, require_labels
from prunecli.latency import STAGE, Measured, measured, with_trained_latency
from prunecli.measuring import sizes
from prunecli.opening import Naming, Subject, open_against
from prunecli.report.figures import Quality
from prunecli.report.gated import passed
from prunecli.report.model import Output
from prunecli.report.rows import layer_rows
from prunecli.report.trained import EpochRow, Finetuning
from prunecli.saving import Saving, stored
from prunecli.subjects import require_prunable
from prunecli.threads import limited
from prunecli.training.data import TrainingData
from prunecli.training.distributed import joined
from prunecli.training.kept import SAVE_SECONDS, Keeping, Kept
from prunecli.training.settings import Settings
from prunecli.training.stage import Stage, Trained
from prunecli.training.state import remove_state
from prunecli.training.subject import CHANGED_BY, Trainee, digest_of, open_trainee, recipe_after


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
        ``GateError`` where the report has a gate that does not hold (the state then stays), ``UsageError`` if
        ``path`` exists without ``force``, ``ImpossibleError`` if the reloaded network differs,
        ``OutputError`` if it cannot be written. Of several processes that trained together the first writes;
        in the others this does nothing.
        """
        resumable = self._state is not None and self._state.exists()
        require_passed(self.report.gates, resumable, "another checkpoint")
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
    latency: bool = False,
    progress: Callable[[str], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
    unsafe_load: bool = False,
    gates: Mapping[str, float] | Gates | None = None,
    **settings: Any,
) -> Finetuned:
    """Train a checkpoint (dense or pruned) or a module on ``data``, as ``--data`` takes it; the input is
    never changed. ``settings`` are the fields of :class:`prunecli.training.settings.Settings`: ``epochs``,
    ``lr``, ...

    ``samples`` of the data, chosen by the seed; None takes all. Figures are taken on ``eval_data``, or on the
    test part of data that comes divided. ``against`` is the dense network to learn from (distillation).
    ``state`` is the file that holds the run after every epoch and every ``save_seconds``; with ``resume`` it
    goes on from there. ``metrics`` gets one line of JSON per epoch. ``latency`` times what was trained, in
    turns with ``against`` where there is that. ``gates`` are limits as for :func:`prunecli.prune`; where one
    on sizes or latency does not hold, nothing is trained. Raises ``UsageError``, ``InputError``,
    ``ImpossibleError`` where training diverges, and ``OutputError`` where the state cannot be written.

    Processes that torchrun started train together, ``batch_size`` samples each; the first of them writes and
    tells. ``ToldElsewhereError`` is raised in those that end because another did.
    """
    chosen, limits = Settings.of(settings), Gates.of(gates)
    limits.require_data(data, eval_data, trains=True)
    limits.require_dense(against is not None, "--against DENSE")
    kept = Kept.of(state, resume, save_seconds, metrics)
    with limited(threads), joined(device, kept.state) as (team, where):
        clock = Clock(progress if team.leads else None)
        with clock.stage("read"):
            naming = Naming(example_inputs, arch, arch_args, inputs, unsafe_load)
            trainee = open_trainee(model_or_path, naming)
            require_prunable(trainee.dense)
            teacher = None if against is None else open_against(against, naming, trainee.subject)
        with clock.stage("data"):
            found = TrainingData.opened(data, eval_data, trainee.specs, samples, transform, chosen.seed)
            require_labels(limits, found.judged)
        stage = Stage(found, chosen, where, clock, on_epoch, team)
        held = limits if team.leads else limits.without_latency
        run = Run(trainee, teacher, stage, held, latency=latency)
        return run.finetuned(kept.keeping(run.identity(transform)))


@dataclass
class Run:
    """One run of a training command: measured, trained, measured again, told."""

    trainee: Trainee
    teacher: Subject | None
    stage: Stage
    gates: Gates = field(default_factory=Gates)
    latency: bool = False

    def identity(self, transform: str | None) -> dict[str, Any]:
        """All that must be the same for the same weights to come out, but for the machine."""
        source, other = self.trainee.dense.source, self.teacher
        return {
            "the checkpoint": digest_of(self.trainee.module) if source is None else source.digest,
            "--against": None if other is None else digest_of(other.network.module),
            **self.stage.identity(transform),
        }

    def finetuned(self, keeping: Keeping | None) -> Finetuned:
        stage = self.stage
        size, timed = self._early()
        if not stage.team.told(passed(self.gates.before_training.judged(size))):
            return self._untrained(size, timed)
        network = self.trainee.working(stage.device, stage.settings.channels_last)
        network = stage.team.synchronised(network, stage.device)
        teacher = None
        if self.teacher is not None:
            teacher = self.trainee.beside(self.teacher.network.module, stage.device)
        with stage.clock.stage("evaluate"):
            before, dense = stage.figures(network), None if teacher is None else stage.figures(teacher)
        found = stage.trained(network, teacher, keeping)
        with stage.clock.stage("evaluate"):
            after = self._after(found.network, teacher)
        model = self.trainee.finished(found.network)
        name = CHANGED_BY if stage.sparsifier is None else stage.sparsifier.name
        tensors = stored(model, self.trainee.dense)
        recipe = recipe_after(self.trainee, tensors, stage.options(name), name)
        report = replace(self._report(found, recipe), before=before, after=after, dense=dense)
        report = self._timed(report, model, timed)
        report = replace(report, gates=of_training(self.gates, report, size))
        place = None if keeping is None else keeping.path
        return Finetuned(model, report, self.trainee, recipe, place, stage.team.leads)

    def _early(self) -> tuple[Figures, Measured | None]:
        """What training does not change, so that it is known before; nothing where no gate asks."""
        figures, timed, dense = Figures(), None, self.trainee.dense
        if self.gates.asks_sizes:
            with self.stage.clock.stage("count"):
                figures = Figures.of(sizes(dense)[0])
        if self.gates.max_latency is not None and passed(self.gates.of_sizes.judged(figures)):
            first, second = self._beside(dense.module)
            with self.stage.clock.stage(STAGE):
                timed = measured(
                    first, second, dense.specs, layer_rows(first, second, {}, {}), device=self.stage.device
                )
            figures = replace(figures, latency=median(timed.latency))
        return figures, timed

    def _beside(self, network: nn.Module) -> tuple[nn.Module, nn.Module | None]:
        """Timed in turns with the dense network where there is one, else by itself."""
        return (network, None) if self.teacher is None else (self.teacher.network.module, network)

    def _untrained(self, size: Figures, timed: Measured | None) -> Finetuned:
        """What could not be written anyway."""
        model, before = self.trainee.module, self.trainee.subject.recipe
        recipe = recipe_after(self.trainee, stored(model, self.trainee.dense), {})
        report = self._timed(self._report(Trained(model, (), None, ()), recipe), model, timed)
        report = replace(
            report, changed_by=() if before is None else before.changed_by,
            gates=of_training(self.gates, report, size),
        )  # fmt: skip
        return Finetuned(model, report, self.trainee, recipe, None, self.stage.team.leads)

    def _after(self, network: nn.Module, teacher: nn.Module | None) -> Quality | None:
        """Compared with the dense network only where a gate asks, since that runs both."""
        if self.gates.min_agreement is None or teacher is None:
            return self.stage.figures(network)
        return self.stage.compared({"": network}, teacher).get("")

    def _timed(self, report: Finetuning, model: nn.Module, timed: Measured | None) -> Finetuning:
        """With the latency, taken by the process that writes; as the gate took it, where one did."""
        stage = self.stage
        if timed is not None:
            return replace(report, latency=timed.latency, notes=(*report.notes, *timed.notes))
        if not self.latency or not stage.team.leads:
            return report
        dense = None if self.teacher is None else self.teacher.network.module
        specs = self.trainee.dense.specs
        return with_trained_latency(report, dense, model, specs, stage.device, stage.clock)

    def _report(self, found: Trained, recipe: Recipe) -> Finetuning:
        stage, dense = self.stage, self.trainee.dense
        return Finetuning(
            version=__version__,
            command=(),
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            settings=stage.told_settings(),
            data=stage.data.facts,
            validation=stage.data.judged_facts,
            against=None if self.teacher is None else self.teacher.network.source,
            device=str(stage.device),
            threads=torch.get_num_threads(),
            processes=stage.team.size,
            epochs=found.rows,
            best=found.best,
            changed_by=recipe.changed_by,
            timings=dict(stage.clock.seconds),
            notes=tuple(dict.fromkeys((*stage.data.notes, *self.trainee.notes, *found.notes))),
            sparsity=found.sparsity,
        )

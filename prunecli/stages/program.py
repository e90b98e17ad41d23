"""The trainings of one ``prune run``, as far as they have come: before each cut, and after the last."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors
from prunecli.checkpoint.recipe import Recipe
from prunecli.clock import Clock
from prunecli.coupling.space import Space
from prunecli.data import Samples
from prunecli.errors import ImpossibleError, UsageError
from prunecli.opening import Subject
from prunecli.plan import Plan
from prunecli.proofs import pruned
from prunecli.report.epochs import EpochRow, TrainedStage
from prunecli.report.figures import Quality
from prunecli.saving import stored
from prunecli.stages.course import Course, Lesson
from prunecli.stages.shrinking import SPARSIFY, Picking, UnitSparsifier, tensors_of
from prunecli.stages.stable import UntilStable, sizes_of
from prunecli.subjects import Dense
from prunecli.training.data import TrainingData
from prunecli.training.distributed import ALONE, Team
from prunecli.training.hooks import Sparsifier
from prunecli.training.kept import Kept
from prunecli.training.settings import Settings
from prunecli.training.stage import Stage, Trained, in_words
from prunecli.training.subject import CHANGED_BY, Trainee, digest_of, recipe_after

TRAIN = "train"
SPARSIFIED, TRAINED, FINETUNED = "sparsified", "trained", "finetuned"


@dataclass(frozen=True)
class Before:
    """The network that a cut is made of, ``space`` as it is then, and the ``plan`` that led to it."""

    module: nn.Module
    space: Space
    plan: Plan

    def later(self, whole: Plan) -> Plan:
        """What of ``whole`` is cut after it, in the numbers of its own units."""
        keep: dict[str, tuple[int, ...]] = {}
        for name, kept in whole.keep.items():
            there = self.plan.keep.get(name, tuple(range(whole.dense[name])))
            place = {unit: index for index, unit in enumerate(there)}
            if len(kept) < len(there):
                keep[name] = tuple(place[unit] for unit in kept)
        return Plan(keep, {name: self.space.sizes[name] for name in keep})


@dataclass
class Program:
    """``picking`` is what a regularizer picks by, on the space of the moment; ``chosen`` what would be cut of
    a space and its tensors. ``fresh``: the dense network is at random, and there is nothing to learn from it.
    ``settings`` are those of the training before the last cut, for the recipe. Of several processes all do
    the same, but what is trained.
    """

    course: Course
    dense: Dense
    space: Space
    device: torch.device
    clock: Clock
    options: Mapping[str, Any]
    picking: Picking
    chosen: Callable[[Space, Mapping[str, Tensor]], Plan]
    fresh: bool = False
    team: Team = ALONE
    stages: list[TrainedStage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    before: Before | None = None
    picked: Plan | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    _data: dict[int | None, TrainingData] = field(default_factory=dict)

    @property
    def picks(self) -> bool:
        """Whether the training before the cut says what is cut."""
        return self.course.shrinking is not None and self.course.shrinking.method.picks

    @property
    def files(self) -> tuple[Path, ...]:
        """Where the trainings are kept until they are not needed any more."""
        kept = self.course.kept
        places = (kept if name is None else kept.named(name) for name in self._names)
        return tuple(place.state for place in places if place.state is not None)

    @property
    def _names(self) -> list[str | None]:
        count = 0 if self.course.before is None else self.course.times
        rounds: list[str | None] = [self._name(index) for index in range(count)]
        return rounds if self.course.after is None else [*rounds, None]

    def _name(self, index: int) -> str:
        if self.course.times > 1:
            return f"round-{index + 1}"
        return self._before_name

    def _kept(self, name: str | None) -> Kept:
        """Of several trainings each has a state, and what has not begun has none to resume from: which that
        is, the process says that writes them.
        """
        kept = self.course.kept if name is None else self.course.kept.named(name)
        begun = self.team.told(kept.state is not None and kept.state.exists())
        return replace(kept, resume=kept.resume and begun)

    def check(self) -> None:
        """Raises ``UsageError`` where there is nothing to resume."""
        there = self.team.told(any(path.exists() for path in self.files))
        if self.course.kept.resume and not there:
            raise UsageError(f"there is no state to resume from: {self.files[-1]}", "leave --resume out")

    def judged(self) -> Samples | None:
        """What figures are taken on, opened before anything is trained."""
        lesson = self.course.after or self.course.before
        assert lesson is not None
        return self._opened(lesson, Trainee(Subject(self.dense))).judged

    def trained(
        self, space: Space, tensors: Mapping[str, Tensor], plan: Plan, index: int
    ) -> dict[str, Tensor]:
        """``tensors``, which ``plan`` left of the dense network, after the training before cut ``index``.
        Raises as :func:`prunecli.finetune`.
        """
        course = self.course
        if course.before is None or index >= course.times:
            return dict(tensors)
        self._agree(plan)
        module = pruned(self.dense.module, self.space, tensors, plan.keep)
        trainee = Trainee(Subject(replace(self.dense, module=module)))
        sparsifier = self._sparsifier(course.before, space)
        stage = self._stage(course.before, trainee, self._name(index), sparsifier)
        teacher = self._teacher(stage, trainee)
        network = self._working(trainee, course.before)
        identity = self._identity(course.before, stage) | {"the cut so far": _digest(plan)}
        found = stage.trained(network, teacher, self._kept(self._name(index)).keeping(identity))
        finished = trainee.finished(found.network)
        self.before = Before(finished, space, plan)
        self.picked = None if sparsifier is None else sparsifier.plan
        self.settings = stage.options(self.changed_by[0])
        self._tell(self._name(index), stage, trainee, found, teacher is not None)
        there = all_tensors(finished)
        return {name: there[name].to(tensor.device) for name, tensor in tensors.items()}

    def _sparsifier(self, lesson: Lesson, space: Space) -> Sparsifier | None:
        course, made = self.course, None
        if course.shrinking is not None:
            picking = replace(self.picking, space=space)
            made = UnitSparsifier(course.shrinking, picking, lesson.settings.decay)
        if course.stable_at is None:
            return made
        return UntilStable(
            made, lambda network: self.chosen(space, tensors_of(network)), sizes_of(space), course.stable_at
        )

    def finished(
        self, as_cut: nn.Module, repaired: nn.Module | None, recipe: Recipe
    ) -> tuple[nn.Module, Recipe, dict[str, Quality]]:
        """The network after the last cut, trained if that is asked for, its recipe, and the quality at every
        stage; no network is changed. Raises as :func:`prunecli.finetune`.
        """
        lesson = self.course.after or self.course.before
        assert lesson is not None
        self._agree(recipe.plan)
        subject = {"cut": as_cut} | ({} if repaired is None else {"repaired": repaired})
        before = {} if self.before is None else {self._before_name: self.before.module}
        trainees = {
            name: Trainee(Subject(replace(self.dense, module=module), recipe))
            for name, module in (before | subject).items()
        }
        trainee = list(trainees.values())[-1]
        stage = self._stage(lesson, trainee, FINETUNED, None)
        dense = trainee.beside(self.dense.module, self.device)
        with self.clock.stage("evaluate"):
            networks = {name: one.working(self.device, False) for name, one in trainees.items()}
            quality = stage.compared({"dense": dense, **networks}, dense)
        if self.course.after is None:
            return trainee.module, recipe, quality
        network = self._working(trainee, lesson)
        teacher = None if self.fresh else dense
        cut = sha256("".join(recipe.cut_digests.values()).encode()).hexdigest()
        identity = self._identity(lesson, stage) | {"the cut": cut}
        found = stage.trained(network, teacher, self._kept(None).keeping(identity))
        with self.clock.stage("evaluate"):
            quality |= stage.compared({FINETUNED: found.network}, dense)
        self._tell(FINETUNED, stage, trainee, found, teacher is not None)
        model = trainee.finished(found.network)
        return model, recipe_after(trainee, stored(model, self.dense), stage.options(CHANGED_BY)), quality

    @property
    def changed_by(self) -> tuple[str, ...]:
        """What the recipe says of the training before the cuts."""
        if self.course.before is None:
            return ()
        return (TRAIN if self.course.shrinking is None else SPARSIFY,)

    @property
    def _before_name(self) -> str:
        return TRAINED if self.course.shrinking is None else SPARSIFIED

    def _stage(self, lesson: Lesson, trainee: Trainee, name: str, sparsifier: Sparsifier | None) -> Stage:
        data, settings = self._opened(lesson, trainee), lesson.settings
        if not data.trained.labelled and settings.distill == 0:
            settings = replace(settings, distill=1.0)
        watching = self._watching(name, settings)
        return Stage(data, settings, self.device, self.clock, watching, self.team, sparsifier)

    def _opened(self, lesson: Lesson, trainee: Trainee) -> TrainingData:
        if lesson.samples not in self._data:
            with self.clock.stage("data"):
                self._data[lesson.samples] = self.course.opened(lesson, trainee.specs)
        return self._data[lesson.samples]

    def _watching(self, name: str, settings: Settings) -> Callable[[EpochRow], None] | None:
        told = self.course.on_epoch
        return None if told is None else lambda row: told(row, name, settings.epochs)

    def _working(self, trainee: Trainee, lesson: Lesson) -> nn.Module:
        """A copy to train, by all processes."""
        return self.team.synchronised(
            trainee.working(self.device, lesson.settings.channels_last), self.device
        )

    def _agree(self, plan: Plan) -> None:
        """Raises ``ImpossibleError`` where processes would train networks of other units."""
        if len(set(self.team.gathered(_digest(plan)))) > 1:
            raise ImpossibleError(
                f"the {self.team.size} processes chose different units",
                "machines of one kind, and the same data",
            )

    def _teacher(self, stage: Stage, trainee: Trainee) -> nn.Module | None:
        if self.fresh or stage.settings.distill == 0:
            return None
        return trainee.beside(self.dense.module, self.device)

    def _identity(self, lesson: Lesson, stage: Stage) -> dict[str, Any]:
        """What the run is: the same again whenever the same is asked."""
        asked = {f"--{name.replace('_', '-')}": in_words(value) for name, value in self.options.items()}
        source = self.dense.source
        digest = digest_of(self.dense.module) if source is None else source.digest
        return {"the checkpoint": digest, **asked, **stage.identity(self.course.transform, lesson.option)}

    def _tell(self, name: str, stage: Stage, trainee: Trainee, found: Trained, taught: bool) -> None:
        self.stages.append(stage.told(name, found, taught))
        self.notes += [*stage.data.notes, *trainee.notes, *found.notes]


def _digest(plan: Plan) -> str:
    return sha256(repr(sorted(plan.keep.items())).encode()).hexdigest()

"""A cut network trained before it is written, beside the dense one that it learns from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import torch
from torch import nn

from prunecli.checkpoint.recipe import Recipe
from prunecli.clock import Clock
from prunecli.opening import Subject
from prunecli.report.epochs import TrainedStage
from prunecli.report.figures import Quality
from prunecli.saving import stored
from prunecli.stages.course import Course
from prunecli.subjects import Dense
from prunecli.training.subject import CHANGED_BY, Trainee, digest_of, recipe_after

FINETUNED = "finetuned"


@dataclass(frozen=True)
class Tuned:
    """A trained network, what a file of it says, and what a report does."""

    model: nn.Module
    recipe: Recipe
    stage: TrainedStage
    quality: Mapping[str, Quality]
    notes: tuple[str, ...]


def tuned(
    course: Course, dense: Dense, stages: Mapping[str, nn.Module], recipe: Recipe, device: torch.device,
    clock: Clock,
) -> Tuned:  # fmt: skip
    """Train the last of ``stages``, the networks so far by name, with ``recipe``; none of them is changed.
    Raises as :func:`prunecli.finetune`.
    """
    trainees = {
        name: Trainee(Subject(replace(dense, module=module), recipe)) for name, module in stages.items()
    }
    trainee = list(trainees.values())[-1]
    stage = course.opened(trainee.specs, device, clock)
    teacher = trainee.beside(dense.module, device)
    with clock.stage("evaluate"):
        networks = {name: one.working(device, False) for name, one in trainees.items()}
        quality = stage.compared({"dense": teacher, **networks}, teacher)
    network = trainee.working(device, course.settings.channels_last)
    identity = _identity(dense, recipe) | stage.identity(course.transform, "--finetune-arg ")
    found = stage.trained(network, teacher, course.kept.keeping(identity))
    with clock.stage("evaluate"):
        quality |= stage.compared({FINETUNED: found.network}, teacher)
    model = trainee.finished(found.network)
    notes = (*stage.data.notes, *trainee.notes, *found.notes)
    after = recipe_after(trainee, stored(model, dense), stage.options(CHANGED_BY))
    return Tuned(model, after, stage.told(FINETUNED, found, True), quality, notes)


def _identity(dense: Dense, recipe: Recipe) -> dict[str, Any]:
    """What was cut, and how; the same again whenever the same is asked."""
    digest = sha256("".join(recipe.cut_digests.values()).encode()).hexdigest()
    asked = {f"--{name.replace('_', '-')}": _told(value) for name, value in recipe.options.items()}
    source = digest_of(dense.module) if dense.source is None else dense.source.digest
    return {"the checkpoint": source, "the cut": digest, **asked}


def _told(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value

"""``prune eval``: how good a checkpoint is on data, and how near to the dense one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prunecli import __version__
from prunecli.checkpoint.locating import implied_arch
from prunecli.checkpoint.reading import Checkpoint, read
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.clock import Clock
from prunecli.data import Samples, open_data
from prunecli.data.specs import shown
from prunecli.errors import UsageError
from prunecli.loading import restored
from prunecli.networks import parse_input
from prunecli.quality import measure
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.measured import Evaluation
from prunecli.report.model import Input, NetworkFacts, Source
from prunecli.subjects import choose_device, open_dense

THIS = "the network"
DENSE = "the dense network"


@dataclass(frozen=True)
class _Naming:
    """How the caller named the network."""

    example_inputs: Any
    arch: str | None
    arguments: Mapping[str, Scalar] | None
    inputs: Sequence[str]


@dataclass(frozen=True)
class _Subject:
    """A network to run; ``recipe`` where it was pruned."""

    module: nn.Module
    specs: tuple[InputSpec, ...]
    source: Source | None
    facts: NetworkFacts
    recipe: Recipe | None = None

    def on(self, device: torch.device) -> nn.Module:
        """The caller's module stays where it is."""
        return self.module if self.source is None else self.module.to(device)


def evaluate(
    model_or_path: nn.Module | str | Path,
    *,
    data: str | Samples,
    samples: int | None = None,
    batch_size: int = 64,
    transform: str | None = None,
    against: nn.Module | str | Path | None = None,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """The quality of a checkpoint (dense or pruned) or a module on ``data``, as ``--data`` takes it.

    ``samples`` of them, chosen by ``seed``; None takes all. ``against`` is the dense network to compare with.
    A module stays on its device, a checkpoint goes to ``device``. Raises ``UsageError`` (also where there is
    nothing to measure) and ``InputError``.
    """
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size} is out of range", "at least 1")
    where = choose_device(device)
    naming = _Naming(example_inputs, arch, arch_args, inputs)
    clock = Clock(progress)
    with clock.stage("read"):
        subject = _opened(model_or_path, naming)
        other = None if against is None else _dense(against, naming, subject)
    with clock.stage("data"):
        found = (
            data
            if isinstance(data, Samples)
            else open_data(data, subject.specs, samples=samples, seed=seed, transform=transform, part="test")
        )
        if not found.labelled and other is None:
            raise UsageError(
                f"{found.origin} has no labels, and there is no network to compare with", "--against DENSE"
            )
    with clock.stage("evaluate"):
        networks = {THIS: subject.on(where)} | ({} if other is None else {DENSE: other.on(where)})
        measured = measure(
            networks, found, against=networks.get(DENSE), batch_size=batch_size, progress=progress
        )
    return _told(subject, other, found, measured, clock.seconds)


def _opened(model_or_path: nn.Module | str | Path, naming: _Naming) -> _Subject:
    if not isinstance(model_or_path, nn.Module):
        checkpoint = read(model_or_path)
        if checkpoint.recipe is not None:
            return _pruned(checkpoint, checkpoint.recipe, naming)
    dense = open_dense(model_or_path, naming.example_inputs, naming.arch, naming.arguments, naming.inputs)
    return _Subject(dense.module, dense.specs, dense.source, dense.facts)


def _pruned(checkpoint: Checkpoint, recipe: Recipe, naming: _Naming) -> _Subject:
    specs = tuple(parse_input(text) for text in naming.inputs) or recipe.inputs
    source = Source(checkpoint.path.name, checkpoint.digest, checkpoint.layout, checkpoint.dropped)
    facts = NetworkFacts(recipe.arch, dict(recipe.arguments))
    return _Subject(restored(checkpoint, arch=naming.arch), specs, source, facts, recipe)


def _dense(against: nn.Module | str | Path, naming: _Naming, subject: _Subject) -> _Subject:
    """The network to compare with: what a pruned file was cut from is the one that its recipe names."""
    if isinstance(against, nn.Module):
        return _Subject(against, subject.specs, None, NetworkFacts(None))
    recipe = subject.recipe
    if recipe is not None and naming.arch is None:
        own, arguments = recipe.arch, recipe.arguments
        if own.startswith("hf:"):
            own, arguments = implied_arch(Path(against)) or own, {}
        naming = _Naming(None, own, arguments, naming.inputs)
    return _opened(against, naming)


def _told(
    subject: _Subject,
    other: _Subject | None,
    samples: Samples,
    measured: Mapping[str, Quality],
    seconds: Mapping[str, float],
) -> Evaluation:
    quality = measured[THIS]
    if quality.is_empty:
        raise UsageError(
            "the network's output is not one row of scores per sample: there is nothing to measure",
            "--against DENSE compares all outputs",
        )
    return Evaluation(
        version=__version__,
        checkpoint=subject.source,
        network=subject.facts,
        inputs=tuple(Input(spec.shape, spec.dtype, spec.name) for spec in subject.specs),
        data=DataFacts(shown(samples.origin), len(samples), samples.labelled),
        quality=quality,
        against=None if other is None else other.source,
        dense=None if other is None else measured[DENSE],
        timings=dict(seconds),
        notes=(*samples.notes, *_class_notes(samples.classes, quality)),
    )


def _class_notes(classes: int | None, quality: Quality) -> tuple[str, ...]:
    """Labels count the classes of the data, which need not be those that the network learned."""
    if quality.top1 is None or classes in (None, quality.classes):
        return ()
    return (
        f"the data tells {classes} classes apart and the network {quality.classes}: "
        "are the labels counted alike?",
    )

"""``prune eval``: how good a checkpoint is on data, and how near to the dense one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from prunecli import __version__
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.data import Samples, open_data
from prunecli.data.specs import shown
from prunecli.errors import UsageError, require_range
from prunecli.gates import Gates
from prunecli.gating import of_evaluation, require_labels
from prunecli.latency import STAGE, measured
from prunecli.measuring import sizes
from prunecli.opening import Naming, Subject, open_against, open_any
from prunecli.quality import measure
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.measured import Evaluation
from prunecli.subjects import choose_device

THIS = "the network"
DENSE = "the dense network"


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
    gates: Mapping[str, float] | Gates | None = None,
) -> Evaluation:
    """The quality of a checkpoint (dense or pruned) or a module on ``data``, as ``--data`` takes it.

    ``samples`` of them, chosen by ``seed``; None takes all. ``against`` is the dense network to compare with.
    A module stays on its device, a checkpoint goes to ``device``. ``gates`` are limits as for
    :func:`prunecli.prune`; the result says which hold. Raises ``UsageError`` (also where there is
    nothing to measure) and ``InputError``.
    """
    require_range(batch_size >= 1, "--batch-size", batch_size, "a whole number from 1")
    limits = Gates.of(gates)
    limits.require_data(data)
    limits.require_dense(against is not None, "--against DENSE")
    where = choose_device(device)
    naming = Naming(example_inputs, arch, arch_args, inputs)
    clock = Clock(progress)
    with clock.stage("read"):
        subject = open_any(model_or_path, naming)
        other = None if against is None else open_against(against, naming, subject)
    with clock.stage("data"):
        found = (
            data
            if isinstance(data, Samples)
            else open_data(
                data, subject.network.specs, samples=samples, seed=seed, transform=transform, part="test"
            )
        )
        if not found.labelled and other is None:
            raise UsageError(
                f"{found.origin} has no labels, and there is no network to compare with", "--against DENSE"
            )
        require_labels(limits, found)
    size = None
    if limits.asks_sizes:
        with clock.stage("count"):
            size = sizes(subject.network)[0]
    with clock.stage("evaluate"):
        networks = {THIS: subject.on(where)} | ({} if other is None else {DENSE: other.on(where)})
        qualities = measure(
            networks, found, against=networks.get(DENSE), batch_size=batch_size, progress=progress
        )
    timed = None
    if limits.max_latency is not None:
        network = subject.network
        with clock.stage(STAGE):
            timed = measured(network.module, None, network.specs, (), device=where)
    told = replace(_told(subject, other, found, qualities, clock.seconds), totals=size)
    if timed is not None:
        told = replace(told, notes=(*told.notes, *timed.notes))
    return replace(told, gates=of_evaluation(limits, told, None if timed is None else timed.latency))


def _told(
    subject: Subject,
    other: Subject | None,
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
        checkpoint=subject.network.source,
        network=subject.network.facts,
        inputs=subject.network.report_inputs,
        data=DataFacts(shown(samples.origin), len(samples), samples.labelled),
        quality=quality,
        against=None if other is None else other.network.source,
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

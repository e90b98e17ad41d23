"""What was asked of repair, and what came of it: from ``--repair`` and ``--data`` to a repaired network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunecli.assembly import rebuilt
from prunecli.checkpoint.specs import InputSpec
from prunecli.coupling import Space
from prunecli.data import Samples, noise, open_data
from prunecli.data.specs import shown
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.quality import measure
from prunecli.repair import Budget, DoesNotRunError, Method, Outcome, Repair
from prunecli.repair.remembered import level
from prunecli.report.figures import DataFacts, Quality, RepairFacts

SAMPLES, NOISE_SAMPLES = 512, 32
NOISE_SECONDS = 60.0
MEMORY = 4 << 30
REAL = "repaired on noise; 32 or more real inputs (--data) usually do better"


@dataclass(frozen=True)
class Mend:
    """How to repair. ``data`` as ``--data`` takes it, None for noise; ``samples`` and ``seconds`` None for
    what suits that (512 and no limit with data, 32 and 60 s on noise); ``memory`` in bytes.
    """

    method: Method
    data: str | Samples | None = None
    samples: int | None = None
    transform: str | None = None
    memory: int = MEMORY
    seconds: float | None = None
    seed: int = 0

    @property
    def on_noise(self) -> bool:
        return self.data is None or self.data == "noise"

    def opened(self, specs: Sequence[InputSpec]) -> Samples:
        """The calibration inputs of a network that takes ``specs``. Raises as
        :func:`prunecli.data.open_data`.
        """
        if isinstance(self.data, Samples):
            return self.data
        if self.data is None or self.on_noise:
            return noise(tuple(specs), samples=self.samples or NOISE_SAMPLES, seed=self.seed)
        count = self.samples or SAMPLES
        return open_data(self.data, tuple(specs), samples=count, seed=self.seed, transform=self.transform)

    def judged(self, specs: Sequence[InputSpec]) -> Samples | None:
        """Samples to measure the quality on: those that data keeps for tests, None for noise."""
        if self.data is None or isinstance(self.data, Samples) or self.on_noise:
            return self.data if isinstance(self.data, Samples) else None
        count = self.samples or SAMPLES
        return open_data(
            self.data, tuple(specs), samples=count, seed=self.seed, transform=self.transform, part="test"
        )


@dataclass(frozen=True)
class Mended:
    """A network after repair. ``facts`` and ``quality`` are for the report."""

    tensors: Mapping[str, Tensor]
    facts: RepairFacts
    quality: Mapping[str, Quality]
    notes: tuple[str, ...]

    @property
    def changed_by(self) -> tuple[str, ...]:
        """What the recipe names as having changed weights since the cut."""
        return () if self.facts.applied == "none" else (f"repair {self.facts.applied}",)


def mend(
    asked: Mend,
    dense: nn.Module,
    cut: nn.Module,
    space: Space,
    keep: Mapping[str, Sequence[int]],
    specs: Sequence[InputSpec],
    device: torch.device,
    progress: Callable[[str], None] | None,
) -> Mended:
    """Repair ``cut`` (which is not changed) and measure it. Raises ``InputError`` for data that cannot be
    used.
    """
    samples = _calibration(asked, dense, specs)
    limit = asked.seconds if asked.seconds is not None else (NOISE_SECONDS if asked.on_noise else None)
    budget = Budget(len(samples), asked.memory, limit)
    work = Repair(dense, cut, space, keep, samples, device, budget, asked.seed, progress)
    outcome = _attempted(work, asked.method, asked.on_noise)
    facts = _facts(asked, samples, outcome)
    notes = [*samples.notes, *outcome.notes]
    if outcome.chosen != "none" and asked.on_noise:
        notes.append(REAL)
    if outcome.chosen == "none" and outcome.errors:
        notes.append("repair: nothing was nearer to the dense network than the cut as it is")
    quality = _quality(
        asked, dense, cut, rebuilt(cut, {**outcome.tensors}) if outcome.tensors else cut, specs
    )
    return Mended(outcome.tensors, facts, quality, tuple(notes))


def _calibration(asked: Mend, dense: nn.Module, specs: Sequence[InputSpec]) -> Samples:
    """What was asked for; noise as strong and as bright as the network's first norm remembers."""
    samples = asked.opened(specs)
    if not asked.on_noise:
        return samples
    first = next(iter(samples.chunks(8))).inputs
    try:
        with torch.no_grad():
            found = level(dense, first)
    except FORWARD_ERRORS:
        return samples
    return samples if found is None else found.of(samples)


def _attempted(work: Repair, method: Method, on_noise: bool) -> Outcome:
    """Forwards of several samples at once may not be what a network takes; then it stays as it was cut. So it
    does after a defect of the repair itself, which is told as such: the cut is proved and good without it.
    """
    try:
        return work.run(method)
    except InputError as error:
        if not on_noise:
            raise
        return Outcome({}, "none", {}, (), 0, (f"not repaired: {error.message}",))
    except DoesNotRunError as error:
        note = f"not repaired: the network does not run on several samples at once ({error})"
    except FORWARD_ERRORS as error:
        note = f"not repaired: the repair failed, which is a defect of it ({first_line(error)})"
    return Outcome({}, "none", {}, (), 0, (note,))


def _facts(asked: Mend, samples: Samples, outcome: Outcome) -> RepairFacts:
    data = DataFacts(shown(samples.origin), outcome.samples, samples.labelled)
    return RepairFacts(asked.method, outcome.chosen, data, dict(outcome.errors), outcome.operations)


def _quality(
    asked: Mend, dense: nn.Module, cut: nn.Module, repaired: nn.Module, specs: Sequence[InputSpec]
) -> dict[str, Quality]:
    samples = asked.judged(specs)
    if samples is None:
        return {}
    return measure({"dense": dense, "cut": cut, "repaired": repaired}, samples, against=dense)

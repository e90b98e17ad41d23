"""What was asked of repair, and what came of it: from ``--repair`` and ``--data`` to a repaired network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor, nn

from prunecli.assembly import rebuilt
from prunecli.calibrating import MEMORY, Calibration
from prunecli.checkpoint.specs import InputSpec
from prunecli.coupling import Space
from prunecli.data import Samples
from prunecli.data.specs import shown
from prunecli.errors import InputError, first_line
from prunecli.proofs import FORWARD_ERRORS
from prunecli.quality import measure
from prunecli.repair import Budget, DoesNotRunError, Method, Outcome, Repair
from prunecli.repair.budget import RATE
from prunecli.repair.matched import FEWEST, PASSES, matched, steps_within
from prunecli.report.figures import DataFacts, Quality, RepairFacts

NOISE_SECONDS = 60.0
REAL = "repaired on noise; 32 or more real inputs (--data) usually do better"


@dataclass(frozen=True)
class Mend:
    """How to repair. ``seconds`` None for no limit with data, and 60 s on noise; ``memory`` in bytes.
    ``measured``: whether to say how good the networks are, on the calibration data.
    """

    method: Method
    calibration: Calibration
    memory: int = MEMORY
    seconds: float | None = None
    measured: bool = True

    @property
    def on_noise(self) -> bool:
        return self.calibration.on_noise


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
    samples = asked.calibration.opened(dense, specs)
    limit = asked.seconds if asked.seconds is not None else (NOISE_SECONDS if asked.on_noise else None)
    if asked.on_noise and any(name.endswith("running_mean") for name, _ in dense.named_buffers()):
        macs = space.macs.value(space.sizes)
        samples, limit = _as_remembered(asked, dense, samples, macs, limit, device, progress)
    budget = Budget(len(samples), asked.memory, limit)
    work = Repair(dense, cut, space, keep, samples, device, budget, asked.calibration.seed, progress)
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


def _as_remembered(
    asked: Mend,
    dense: nn.Module,
    samples: Samples,
    macs: int,
    limit: float | None,
    device: torch.device,
    progress: Callable[[str], None] | None,
) -> tuple[Samples, float | None]:
    """Noise moved to what the norms of ``dense`` (``macs`` multiply-adds a sample) remember, in half of the
    seconds at most, and how many are left.
    """
    half = None if limit is None else limit / 2
    steps = steps_within(half, macs, len(samples), RATE)
    each = PASSES * macs * len(samples) / RATE
    if not steps:
        takes = ceil(each * FEWEST)
        said = (
            f"noise: left as drawn; moving it to the statistics of the norms takes {takes} s or more "
            f"(--repair-seconds {2 * takes})"
        )
        return _noted(samples, said), limit
    try:
        found = matched(dense, samples, device, steps, asked.memory, progress)
    except FORWARD_ERRORS:
        return samples, limit
    if found is None:
        return samples, limit
    before, after = found.mismatch
    said = (
        f"noise: moved in {steps} steps to the statistics of the norms (mismatch {before:.2g} -> {after:.2g})"
    )
    return _noted(found.samples, said), None if limit is None else limit - steps * each


def _noted(samples: Samples, note: str) -> Samples:
    return replace(samples, notes=(*samples.notes, note))


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
    samples = asked.calibration.judged(specs) if asked.measured else None
    if samples is None:
        return {}
    return measure({"dense": dense, "cut": cut, "repaired": repaired}, samples, against=dense)

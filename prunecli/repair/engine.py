"""``repair``: a cut network, its dense original and some inputs become a network that computes nearly the
same.

Four candidates are made (as cut, statistics recomputed, least squares, both) and the one whose outputs are
nearest to the dense network's on inputs kept apart is the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, without_recurrent_kernels, working_copy
from prunecli.coupling.space import Space
from prunecli.data import Samples
from prunecli.errors import InputError, first_line
from prunecli.inputs import Inputs
from prunecli.proofs import FORWARD_ERRORS
from prunecli.repair.budget import Budget, Plan, plan
from prunecli.repair.judging import output_error, outputs
from prunecli.repair.operations import Survey
from prunecli.repair.places import Keep
from prunecli.repair.statistics import recalibrate
from prunecli.repair.survey import survey
from prunecli.repair.sweep import Sweep, swept
from prunecli.report.figures import OperationRow
from prunecli.running.calls import Kind
from prunecli.running.chunks import Chunks, one_thread_each

Method = Literal["lstsq", "bn"]
CUT, STATISTICS, LEAST_SQUARES, BOTH = "none", "bn", "lstsq", "lstsq + bn"

STOPS: tuple[Kind, ...] = ("logits", "sum")
"""What is left out where only one of the two networks has it."""

LEAST = 3
"""Inputs: some to fit, one to choose the ridge by, one to judge by."""


@dataclass(frozen=True)
class Outcome:
    """``tensors``: those of the repaired network, in the dtypes of the cut one. ``chosen``: ``none``, ``bn``,
    ``lstsq`` or ``lstsq + bn``; ``errors``: relative output error of every candidate on inputs kept apart.
    ``samples``: how many inputs were used, those kept apart included.
    """

    tensors: Mapping[str, Tensor]
    chosen: str
    errors: Mapping[str, float]
    operations: tuple[OperationRow, ...]
    samples: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repair:
    """``pruned`` is what is left of ``dense`` when groups of ``space`` keep ``keep``; neither is changed."""

    dense: nn.Module
    pruned: nn.Module
    space: Space
    keep: Keep
    samples: Samples
    device: torch.device
    budget: Budget
    seed: int = 0
    progress: Callable[[str], None] | None = None
    notes: list[str] = field(default_factory=list)

    def run(self, method: Method) -> Outcome:
        """Raises ``InputError`` if the dense network gives values that are not finite on the inputs, and
        ``DoesNotRunError`` if a network does not take several of them at once.
        """
        dense, cut = self._working(self.dense), self._working(self.pruned)
        (first, *_), _ = self._chunks(1, 1)
        with ExitStack() as stack:
            with _network_runs():
                found = survey(cut, first)
                if found.fused:
                    stack.enter_context(without_recurrent_kernels())
                    found = survey(cut, first)
                there = survey(dense, first)
            return self._run(method, dense, cut, found, there)

    def _run(self, method: Method, dense: nn.Module, cut: nn.Module, found: Survey, there: Survey) -> Outcome:
        for kind in STOPS:
            if found.signatures != there.signatures:
                found, there = found.without(kind), there.without(kind)
        if found.signatures != there.signatures:
            method, note = (
                "bn",
                "the cut network computes other operations than the dense one: statistics only",
            )
            self.notes.append(note)
        work = plan(found, there, self.budget, method)
        self.notes.extend(work.notes)
        if work.samples < LEAST:
            self.notes.append(f"not repaired: it takes at least {LEAST} inputs, not {work.samples}")
            return Outcome({}, CUT, {}, (), work.samples, tuple(self.notes))
        with one_thread_each(self.device) as chunks:
            return self._best(dense, cut, found, work, chunks)

    def _best(self, dense: nn.Module, cut: nn.Module, found: Survey, work: Plan, chunks: Chunks) -> Outcome:
        samples, count = self._chunks(work.samples, work.chunk)
        judged = samples[-work.judged :]
        fitted = samples[: -work.judged]
        with _network_runs():
            wanted = outputs(dense, judged, chunks)
            outputs(cut, judged, chunks)
        _require_finite(wanted)
        candidates, done = self._candidates(dense, cut, found, work, fitted, chunks)
        errors = {
            name: error for name, module in candidates.items()
            if (error := output_error(wanted, outputs(module, judged, chunks))) is not None
            and error == error
        }  # fmt: skip
        chosen = min(errors, key=lambda name: errors[name]) if errors else LEAST_SQUARES
        chosen = chosen if chosen in candidates else CUT
        if not errors:
            self.notes.append(
                "outputs could not be compared (they are chosen by value), so the repair is unjudged"
            )
        return Outcome(
            self._finished(candidates[chosen]), chosen, errors, tuple(done), count, tuple(self.notes)
        )

    def _candidates(
        self,
        dense: nn.Module,
        cut: nn.Module,
        found: Survey,
        work: Plan,
        fitted: Sequence[Inputs],
        chunks: Chunks,
    ) -> tuple[dict[str, nn.Module], list[OperationRow]]:
        candidates: dict[str, nn.Module] = {CUT: cut}
        done: list[OperationRow] = []
        has_norms = any(op.kind == "norm" for op in found.operations)
        if has_norms:
            self._say("repair: statistics of norms")
            candidates[STATISTICS] = working_copy(cut)
            recalibrate(candidates[STATISTICS], fitted, chunks)
        if work.method == "lstsq":
            held = [index % 4 == 3 for index in range(len(fitted))]
            if not any(held):
                held[-1] = True
            sweep = swept(
                Sweep(
                    dense, working_copy(cut), self.space, self.keep, found.operations, chunks,
                    work.most_columns, seed=self.seed,
                    progress=self._counted(len(found.operations) * found.sweeps(work.most_columns)),
                ),
                fitted, held,
            )  # fmt: skip
            candidates[LEAST_SQUARES], done = sweep.pruned, sweep.done
            if has_norms:
                candidates[BOTH] = working_copy(candidates[LEAST_SQUARES])
                recalibrate(candidates[BOTH], fitted, chunks)
        return candidates, done

    def _counted(self, total: int) -> Callable[[int], None]:
        began = perf_counter()

        def say(index: int) -> None:
            gone = perf_counter() - began
            left = gone / max(1, index) * (total - index)
            self._say(f"repair: operation {index + 1} of {total}, about {left:.0f} s left")

        return say

    def _say(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text)

    def _working(self, module: nn.Module) -> nn.Module:
        """A copy in float32 on the device whose tensors are its own."""
        return working_copy(module, self.device, torch.float32)

    def _chunks(self, samples: int, size: int) -> tuple[list[Inputs], int]:
        """The first ``samples`` of them (or a few more), ``size`` at a time, and how many."""
        found: list[Inputs] = []
        count = 0
        for batch in self.samples.chunks(size):
            found.append(batch.inputs.cast(torch.float32).map(lambda x: x.to(self.device)))
            count += len(batch)
            if count >= samples:
                break
        return found, count

    def _finished(self, module: nn.Module) -> dict[str, Tensor]:
        """The tensors of ``module`` in the dtypes of the cut network; the very same where nothing changed."""
        new = all_tensors(module)
        result = {}
        for name, old in all_tensors(self.pruned).items():
            changed = new[name].detach().to(old.device)
            same = torch.equal(changed, old.detach().to(changed.dtype))
            result[name] = old.detach() if same else changed.to(old.dtype)
        return result


class DoesNotRunError(Exception):
    """A network raised this on the inputs of the repair."""


@contextmanager
def _network_runs() -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except FORWARD_ERRORS as error:
        raise DoesNotRunError(first_line(error)) from error


def _require_finite(wanted: Sequence[Sequence[Tensor]]) -> None:
    for chunk in wanted:
        for tensor in chunk:
            if bool(tensor.isnan().any()):
                raise InputError(
                    "the dense network gives NaN on the calibration inputs",
                    "check --data and --transform, or leave the repair out with --repair none",
                )

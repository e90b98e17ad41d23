"""``prune score``: how important every unit is under some criteria, and how alike they order the units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli.assembly import evaluating, working_copy
from prunecli.calibrating import MEMORY, Calibration, Gathering
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.coupling import Space
from prunecli.criteria import Criterion, Evidence, Scores, find
from prunecli.criteria import score as criterion_scores
from prunecli.criteria.correlation import agreement
from prunecli.criteria.normalize import NORMALIZE, REDUCE
from prunecli.data import Samples
from prunecli.data.specs import shown
from prunecli.errors import UsageError, require_range, unknown_name
from prunecli.measuring import unknown_operator_notes
from prunecli.opening import Naming, open_against, open_any
from prunecli.pruning import traced_for
from prunecli.report.figures import DataFacts
from prunecli.report.scored import CriterionFacts, RankCorrelation, ScoredGroup, Scoring
from prunecli.selection import Asked
from prunecli.selection.singled import left_whole_by
from prunecli.subjects import Dense, choose_device, require_prunable
from prunecli.threads import limited

UNREAD = "--data was not read: no criterion here looks at data"


def score(
    model_or_path: nn.Module | str | Path,
    *,
    criteria: Sequence[str] = ("magnitude-l2",),
    data: str | Samples | None = None,
    samples: int | None = None,
    loss: str | None = None,
    temperature: float = 1.0,
    reduce: str | None = None,
    normalize: str | None = None,
    against: nn.Module | str | Path | None = None,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    transform: str | None = None,
    memory: int = MEMORY,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
    unsafe_load: bool = False,
) -> Scoring:
    """Scores of every group of a checkpoint (dense or pruned) or a module, which is not changed.

    ``criteria`` that look at data share as few passes over ``data`` as they need. ``reduce`` and
    ``normalize`` None take each criterion's own, the latter as for the global schemes. ``against`` is the
    other network of the loss ``kd``. Raises ``UsageError``, ``InputError``, and ``ImpossibleError`` for a
    gradient that is zero everywhere.
    """
    where = choose_device(device)
    gathering = Gathering(
        Calibration(data, samples, transform, seed), loss, temperature, reduce, memory, where,
        progress=progress,
    )  # fmt: skip
    wanted = _Wanted(tuple(dict.fromkeys(criteria)), normalize, gathering)
    wanted.check(against)
    naming = Naming(example_inputs, arch, arch_args, inputs, unsafe_load)
    asked = Asked(only=tuple(only), ignore=tuple(ignore))
    clock = Clock(progress)
    with limited(threads):
        with clock.stage("read"):
            subject = open_any(model_or_path, naming)
            require_prunable(subject.network)
            other = None if against is None else open_against(against, naming, subject)
        with evaluating(subject.network.module):
            with clock.stage("trace"):
                space = traced_for(asked)(subject.network)
            left_out, notes = left_whole_by(asked, space)
            teacher = None if other is None else other.network
            scored = wanted.scores(subject.network, teacher, _without(space, left_out), clock)
    return Scoring(
        version=__version__,
        checkpoint=subject.network.source,
        network=subject.network.facts,
        inputs=subject.network.report_inputs,
        data=scored.data,
        criteria=scored.criteria,
        groups=tuple(_groups(space, left_out, scored.found)),
        correlations=tuple(_correlations(scored.found)),
        against=None if other is None else other.network.source,
        timings=clock.seconds,
        notes=(*notes, *scored.notes, *unknown_operator_notes(space)),
    )


@dataclass(frozen=True)
class _Scored:
    """``found``: by criterion; ``data`` where some of them looked at it."""

    found: Mapping[str, Scores]
    criteria: tuple[CriterionFacts, ...]
    data: DataFacts | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    """The criteria, and what they are to look at."""

    criteria: tuple[str, ...]
    normalize: str | None
    gathering: Gathering

    def check(self, against: object) -> None:
        """Raises ``UsageError`` for whatever is wrong without a look at the network."""
        gathering = self.gathering
        if not self.criteria:
            raise UsageError("no criterion given", "like --criterion magnitude-l2,lamp")
        if gathering.loss == "kd" and against is None:
            raise UsageError("--loss kd compares with another network, and there is none", "--against DENSE")
        teacher = nn.Module() if against is not None else None
        replace(gathering, teacher=teacher).check(self.criteria)
        if gathering.reduce is not None and gathering.reduce not in REDUCE:
            raise unknown_name("reduction", gathering.reduce, REDUCE)
        if self.normalize is not None and self.normalize not in NORMALIZE:
            raise unknown_name("normalization", self.normalize, NORMALIZE)
        samples, seed = gathering.calibration.samples, gathering.calibration.seed
        require_range(samples is None or samples >= 1, "--samples", samples, "a whole number from 1")
        if not 0 <= seed < 2**32:
            raise UsageError(f"--seed {seed} is not between 0 and {2**32 - 1}", "--seed 0")
        if gathering.memory < 1 << 20:
            raise UsageError(f"--memory is {gathering.memory} bytes", "at least 1 MB, like --memory 4GB")

    def scores(self, network: Dense, other: Dense | None, space: Space, clock: Clock) -> _Scored:
        """Of all criteria, after one look at the data for all that need one."""
        evidence, samples = None, None
        if any(find(name).needs for name in self.criteria):
            with clock.stage("data"):
                samples = self.gathering.calibration.opened(network.module, network.specs)
            with clock.stage("gather"):
                evidence = self._evidence(network, other, space, samples)
        with clock.stage("score"):
            found = {
                name: criterion_scores(
                    space, network.tensors, name, reduce=self.gathering.reduce, normalize=self.normalize,
                    seed=self.gathering.calibration.seed, device=str(self.gathering.device),
                    evidence=evidence,
                )
                for name in self.criteria
            }  # fmt: skip
        facts = tuple(self._facts(find(name), evidence) for name in self.criteria)
        if samples is None or evidence is None:
            unread = self.gathering.calibration.data is not None
            return _Scored(found, facts, None, (UNREAD,) if unread else ())
        data = DataFacts(shown(samples.origin), len(samples), samples.labelled)
        return _Scored(found, facts, data, (*samples.notes, *evidence.notes))

    def _evidence(
        self, network: Dense, other: Dense | None, space: Space, samples: Samples
    ) -> Evidence | None:
        """The other network is made to run on what this one runs on."""
        wide = any(tensor.dtype == torch.float64 for tensor in network.module.parameters())
        dtype = torch.float64 if wide else torch.float32
        gathering = replace(
            self.gathering,
            calibration=replace(self.gathering.calibration, data=samples),
            teacher=None if other is None else working_copy(other.module, self.gathering.device, dtype),
        )
        return gathering.evidence(self.criteria, network.module, space, network.specs)

    def _facts(self, criterion: Criterion, evidence: Evidence | None) -> CriterionFacts:
        temperature = self.gathering.temperature
        loss = evidence.loss if evidence is not None and criterion.needs_loss else None
        if loss in ("cross-entropy", "kd") and temperature != 1:
            loss = f"{loss} at temperature {temperature:g}"
        return CriterionFacts(
            criterion.name,
            self.gathering.reduce or criterion.reduce,
            self.normalize or criterion.normalize,
            loss,
        )


def _without(space: Space, left_out: Mapping[str, str]) -> Space:
    """``space`` with those groups frozen, and not the groups whose sizes are tied to theirs: scores ask for
    no sizes.
    """
    groups = (replace(group, frozen=left_out.get(group.name, group.frozen)) for group in space.groups)
    return replace(space, groups=tuple(groups))


def _groups(space: Space, left_out: Mapping[str, str], found: Mapping[str, Scores]) -> Iterator[ScoredGroup]:
    for group in space.groups:
        if group.name in left_out:
            continue
        name = group.name
        yield ScoredGroup(
            name,
            group.kind,
            group.size,
            group.frozen,
            {key: _numbers(one.by_group[name]) for key, one in found.items() if name in one.by_group},
            {key: one.not_scorable[name] for key, one in found.items() if name in one.not_scorable},
        )


def _numbers(scores: Tensor) -> tuple[float, ...]:
    return tuple(scores.tolist())


def _correlations(found: Mapping[str, Scores]) -> Iterator[RankCorrelation]:
    for first, second in combinations(found, 2):
        both = agreement(found[first].by_group, found[second].by_group)
        yield RankCorrelation(first, second, both.within, both.groups, both.across, both.units)

"""``prune score``: how important every unit is under some criteria, and how alike they order the units."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from prunecli import __version__
from prunecli.assembly import evaluating
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.coupling import Space
from prunecli.criteria import Criterion, Scores
from prunecli.criteria import score as scored
from prunecli.criteria.correlation import agreement
from prunecli.criteria.registry import find
from prunecli.data import Samples
from prunecli.errors import UsageError
from prunecli.measuring import unknown_operator_notes
from prunecli.opening import Naming, open_against, open_any
from prunecli.pruning import traced_for
from prunecli.repairing import MEMORY
from prunecli.report.scored import CriterionFacts, RankCorrelation, ScoredGroup, Scoring
from prunecli.selection import Asked
from prunecli.selection.singled import left_whole_by
from prunecli.subjects import choose_device, require_prunable
from prunecli.threads import limited


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

    ``criteria`` that look at data share one pass over ``data``. ``reduce`` and ``normalize`` None take each
    criterion's own, the latter as for the global schemes. ``against`` is the other network of the loss
    ``kd``. Raises ``UsageError`` and ``InputError``.
    """
    chosen = [find(name) for name in dict.fromkeys(criteria)]
    if not chosen:
        raise UsageError("no criterion given", "criteria=('magnitude-l2', 'taylor')")
    where = choose_device(device)
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
            free = _without(space, left_out)
            with clock.stage("score"):
                tensors = subject.network.tensors
                found = {
                    criterion.name: scored(
                        free, tensors, criterion.name, reduce=reduce or "sum", normalize=normalize, seed=seed,
                        device=str(where),
                    )
                    for criterion in chosen
                }  # fmt: skip
    return Scoring(
        version=__version__,
        checkpoint=subject.network.source,
        network=subject.network.facts,
        inputs=subject.network.report_inputs,
        data=None,
        criteria=tuple(_facts(criterion, reduce, normalize) for criterion in chosen),
        groups=tuple(_groups(space, left_out, found)),
        correlations=tuple(_correlations(found)),
        against=None if other is None else other.network.source,
        timings=clock.seconds,
        notes=(*notes, *unknown_operator_notes(space)),
    )


def _without(space: Space, left_out: Mapping[str, str]) -> Space:
    """``space`` with those groups frozen, and not the groups whose sizes are tied to theirs: scores ask for
    no sizes.
    """
    groups = (replace(group, frozen=left_out.get(group.name, group.frozen)) for group in space.groups)
    return replace(space, groups=tuple(groups))


def _facts(criterion: Criterion, reduce: str | None, normalize: str | None) -> CriterionFacts:
    return CriterionFacts(criterion.name, reduce or "sum", normalize or criterion.normalize)


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

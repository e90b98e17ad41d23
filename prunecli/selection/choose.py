"""``choose``: rounds of scoring, selecting and cutting until the target is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from torch import Tensor

from prunecli.coupling.space import Guard, Space
from prunecli.criteria import Evidence, score
from prunecli.errors import ImpossibleError, UsageError
from prunecli.plan import Plan
from prunecli.selection.asked import Asked
from prunecli.selection.schemes import find_scheme
from prunecli.selection.select import select
from prunecli.selection.singled import Own, Singled, singled
from prunecli.selection.target import Limits, Target
from prunecli.surgery import cut

Gathered = Callable[[Space, Mapping[str, Tensor], Plan], Evidence | None]
"""What data says about what is left of a network: of its sizes, its tensors, and the plan that led there."""

Trained = Callable[[Space, Mapping[str, Tensor], Plan, int], Mapping[str, Tensor]]
"""The tensors of what is left of a network after training, before the round of that number (from 0)."""


@dataclass(frozen=True)
class Choice:
    """What was chosen and what is left of the network.

    ``plan`` is in dense numbering; ``space`` has the final sizes, and a reason on every group that was left
    whole on purpose; ``tensors`` are cut; ``step_seconds`` has one entry per round; ``reached`` is the figure
    in the target's own terms. ``scores`` are those of the last round, of the units that were there then, and
    ``stay`` the ones of them that it kept, for the groups that it cut; both empty where nothing was scored.
    """

    plan: Plan
    space: Space
    tensors: dict[str, Tensor]
    notes: tuple[str, ...]
    step_seconds: tuple[float, ...]
    reached: float
    scores: Mapping[str, Tensor] = field(default_factory=dict)
    stay: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """How to score and select, as given by the user; see :func:`choose`."""

    criterion: str
    scheme: str
    target: Target | None
    limits: Limits
    steps: int
    seed: int
    reduce: str | None
    normalize: str | None
    tolerance: float
    device: str
    gathered: Gathered | None
    trained: Trained | None


def choose(
    space: Space,
    tensors: Mapping[str, Tensor],
    *,
    criterion: str,
    scheme: str,
    target: Target | None,
    limits: Limits | None = None,
    steps: int = 1,
    seed: int = 0,
    reduce: str | None = None,
    normalize: str | None = None,
    tolerance: float = 0.005,
    device: str = "cpu",
    asked: Asked | None = None,
    gathered: Gathered | None = None,
    trained: Trained | None = None,
) -> Choice:
    """Prune ``tensors`` to ``target`` in ``steps`` rounds, scoring anew in each; what is ``asked`` of single
    groups holds besides, or is all there is to do where there is no target. ``gathered`` gives in each round
    what a criterion needs of data; what is left is ``trained`` before each.

    Raises ``UsageError`` for unknown names, numbers out of range and options that contradict each other,
    ``InputError`` for scores that are not finite, ``ImpossibleError`` for a target or a ratio that cannot be
    reached.
    """
    if steps < 1:
        raise UsageError(f"--steps {steps} is not a positive integer", "--steps 1")
    if not 0 <= tolerance < 1:
        raise UsageError(f"--tolerance {tolerance:g} is not in [0, 1)", "--tolerance 0.005")
    asked, limits = asked or Asked(), limits or Limits()
    asked.check(limits, find_scheme(scheme))
    if target is None and not asked.is_target:
        raise UsageError("no target given", "like --speedup 2, --ratio 0.5 or --heads 0.5")
    options = Options(
        criterion, scheme, target, limits, steps, seed, reduce, normalize, tolerance, device, gathered,
        trained,
    )  # fmt: skip
    notes: tuple[str, ...] = ()
    enforced: tuple[Guard, ...] = ()
    while True:
        single = singled(asked, space, alone=target is None)
        choice = _in_rounds(single, tensors, options, enforced)
        broken = [guard for guard in space.guards if not guard.holds(choice.space.sizes)]
        if not broken:
            if target is None and not choice.plan.keep:
                raise _too_little(asked, choice.notes)
            return replace(choice, notes=(*single.notes, *notes, *choice.notes))
        space, enforced, said = _respecting(broken, single.space, space, enforced)
        notes += said


def _too_little(asked: Asked, notes: Sequence[str]) -> ImpossibleError:
    """What to raise where the groups with a ratio of their own are the whole target and none loses a unit."""
    options = " and ".join(option for option, ratio in asked.ratios.items() if ratio > 0)
    why = "; ".join(notes) or "all units of a group are the nearest to it that may stay"
    return ImpossibleError(f"{options} removes nothing: {why}", "ask for more")


def _in_rounds(
    single: Singled, tensors: Mapping[str, Tensor], options: Options, enforced: Sequence[Guard]
) -> Choice:
    dense = single.space.sizes
    choice = Choice(Plan({}, {}), single.space, dict(tensors), (), (), 0.0)
    whole: Mapping[str, str] = {}
    for done in range(options.steps):
        if options.trained is not None:
            tensors = options.trained(choice.space, choice.tensors, choice.plan, done)
            choice = replace(choice, tensors=dict(tensors))
        began = perf_counter()
        choice, no_room = _round(choice, dense, options, (done + 1) / options.steps, enforced, single)
        whole = whole or no_room if done == 0 else whole
        choice = replace(choice, step_seconds=(*choice.step_seconds, perf_counter() - began))
    notes = (*_unlike_asked(single.own, dense, choice.space), *choice.notes)
    return replace(choice, space=choice.space.frozen(whole), notes=notes)


def _unlike_asked(own: Mapping[str, Own], dense: Mapping[str, int], left: Space) -> list[str]:
    """A note per option on groups that could lose units, but not as many as it says to a unit."""
    off: dict[str, list[str]] = {}
    for name, asked in own.items():
        wanted = dense[name] * (1 - asked.ratio)
        if left.by_name[name].frozen is None and abs(left.sizes[name] - wanted) >= 1:
            off.setdefault(asked.source, []).append(f"'{name}' {left.sizes[name]} of {dense[name]}")
    return [
        f"{source} is not met to a unit, since widths are that coarse: {', '.join(kept[:3])} stay"
        + (f", and {len(kept) - 3} more groups" if len(kept) > 3 else "")
        for source, kept in off.items()
    ]


def _round(
    choice: Choice,
    dense: Mapping[str, int],
    options: Options,
    share: float,
    enforced: Sequence[Guard],
    single: Singled,
) -> tuple[Choice, Mapping[str, str]]:
    """One round, and the groups that the limits leave no room in."""
    evidence = None
    if options.gathered is not None:
        evidence = options.gathered(choice.space, choice.tensors, choice.plan)
    scores = score(
        choice.space, choice.tensors, options.criterion,
        reduce=options.reduce, normalize=options.normalize, scheme=options.scheme,
        seed=options.seed, device=options.device, evidence=evidence,
    )  # fmt: skip
    space = choice.space.frozen({n: f"not scorable: {why}" for n, why in scores.not_scorable.items()})
    left_whole = single.left_whole(space)
    selection = select(
        space, scores,
        scheme=options.scheme, target=options.target, limits=options.limits, dense=dense,
        tolerance=options.tolerance, share=share, enforced=enforced,
        own=single.own, multiples=single.multiples,
    )  # fmt: skip
    later = Plan(selection.keep, {name: space.sizes[name] for name in selection.keep})
    cut_tensors = cut(choice.tensors, space, selection.keep)
    seen = () if evidence is None else evidence.notes
    notes = (*seen, *left_whole, *selection.notes) if share == 1 else ()
    left = space.resized(selection.sizes)
    plan = choice.plan.after(later)
    return replace(
        choice, plan=plan, space=left, tensors=cut_tensors, notes=notes, reached=selection.figure,
        scores=scores.by_group, stay=selection.keep,
    ), selection.whole  # fmt: skip


def _respecting(
    broken: Sequence[Guard], chosen: Space, space: Space, enforced: tuple[Guard, ...]
) -> tuple[Space, tuple[Guard, ...], tuple[str, ...]]:
    """The space and guards to choose with again, so that ``broken`` guards hold.

    A guard on the groups of one bundle of ``chosen`` restricts the widths of the bundle; one across bundles,
    or one that still fails, leaves its groups whole.
    """
    reasons: dict[str, str] = {}
    free = {member.group: bundle for bundle in chosen.bundles for member in bundle.members}
    for guard in broken:
        groups = [name for name in sorted(guard.left.groups | guard.right.groups) if name in free]
        if not groups:
            raise ImpossibleError(f"{guard.where} does not hold in the dense network either")
        if guard not in enforced and len({free[name] for name in groups}) == 1:
            enforced = (*enforced, guard)
        else:
            reasons |= dict.fromkeys(groups, f"{guard.where} relies on its size")
    notes = tuple(f"group '{name}' is left whole: {reason}" for name, reason in reasons.items())
    return space.frozen(reasons), enforced, notes

"""The Python API: ``prune``, ``inspect``, ``verify``. Each stage is a function of the stage before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli.assembly import evaluating
from prunecli.calibrating import MEMORY, Calibration, Gathering
from prunecli.checking import verify
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.coupling import Space
from prunecli.criteria import Criterion, Evidence, find
from prunecli.data import Samples
from prunecli.data.specs import shown
from prunecli.errors import UsageError, require_range, unknown_name
from prunecli.gates import Gates
from prunecli.gating import opened, require_labels
from prunecli.latency import STAGE, Measured, measured
from prunecli.measuring import counted, totals, traced, unknown_operator_notes
from prunecli.opening import Naming, open_given
from prunecli.plan import Plan
from prunecli.proofs import pruned
from prunecli.pruning import Pruning, Result, by_pick, freed_by, planned, traced_for
from prunecli.repairing import Mend
from prunecli.report.model import Inspection
from prunecli.report.rows import group_rows, layer_rows, pinned_rows
from prunecli.selection import Asked, Choice, Limits, Target, choose
from prunecli.stages import Course, OnEpoch, Program
from prunecli.stages.shrinking import Picking, require_pickable
from prunecli.subjects import choose_device, open_dense, require_prunable
from prunecli.threads import limited
from prunecli.training.asked import Trainings
from prunecli.training.distributed import ALONE, Team, joined
from prunecli.training.kept import SAVE_SECONDS, Kept
from prunecli.zeros import sparsity

__all__ = ["Result", "inspect", "prune", "verify"]


def prune(
    model_or_path: nn.Module | str | Path | None,
    *,
    init: str | None = None,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    speedup: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    ratio: float | None = None,
    criterion: str = "magnitude-l2",
    scheme: str = "protected",
    protect: float = 0.1,
    max_ratio: float = 1.0,
    round_to: int = 1,
    steps: int = 1,
    heads: float | None = None,
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    ratio_for: Mapping[str, float] | None = None,
    round_to_for: Mapping[str, int] | None = None,
    reduce: str | None = None,
    normalize: str | None = None,
    loss: str | None = None,
    temperature: float = 1.0,
    repair: str = "lstsq",
    data: str | Samples | None = None,
    samples: int | None = None,
    transform: str | None = None,
    memory: int = MEMORY,
    repair_seconds: float | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    tolerance: float = 0.005,
    plan: Plan | None = None,
    sparsify: str | None = None,
    sparsify_epochs: int | None = None,
    sparsify_args: Mapping[str, Any] | None = None,
    rounds: int | None = None,
    prune_when: str | None = None,
    finetune_epochs: int | None = None,
    finetune_args: Mapping[str, Any] | None = None,
    eval_data: str | Samples | None = None,
    state: str | Path | None = None,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
    metrics: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
    latency: bool = False,
    progress: Callable[[str], None] | None = None,
    unsafe_load: bool = False,
    gates: Mapping[str, float] | Gates | None = None,
) -> Result:
    """Prune a checkpoint file or a module to one target; the input is never changed. With ``init="random"``
    it is None, and ``arch`` is built with weights drawn by ``seed``.

    Exactly one of ``speedup`` (dense MACs / pruned MACs), ``flops``, ``params`` (fractions kept), ``ratio``
    (fraction of units removed) or ``plan``; or none, with ``heads`` (fraction of attention heads removed) or
    ``ratio_for`` (globs and the fraction that matching groups lose), and then nothing else is cut.
    ``only`` and ``ignore`` are globs, ``round_to_for`` maps globs to multiples. ``inputs`` as ``--input``
    takes them; ``example_inputs`` a tensor, a tuple, or a mapping by argument name, of tensors or of lists
    and dicts of them. ``unsafe_load`` lets a pickle run code in another process, where reading it safely is
    refused.

    ``sparsify`` is a regularizer that the network is trained with for ``sparsify_epochs`` before it is cut;
    ``sparsify_args`` are settings of that training, numbers of the regularizer, and ``samples``. ``rounds``
    trains (for ``sparsify_epochs``, 1 unless given) and cuts so many times, in equal shares of the target.
    With ``prune_when="mask-stable"`` (``"mask-stable=0.05"``) the training before the cut ends once less than
    that share of all units changes sides from one epoch to the next (0.1 unless given).

    ``finetune_epochs`` trains what was cut and repaired on all of ``data``, learning from the dense network
    too; ``finetune_args`` are other settings of :func:`prunecli.finetune` (``lr``, ``distill``, ...) and
    ``samples``, and ``eval_data``, ``state``, ``resume``, ``save_seconds`` and ``metrics`` are as there.
    ``on_epoch`` is called with every epoch, the name of its stage and how many epochs that has. ``latency``
    times the dense and the pruned network in turns.

    ``gates`` are limits by name, as :class:`prunecli.gates.Gates` has them (``{"max_params": 5e6,
    "min_accuracy": 0.9}``): the report says which hold, and :meth:`Result.save` refuses where one does not.
    Those on sizes and latency are judged right after the cut; then nothing is repaired or trained in vain.
    Before training that precedes the cut, only the MACs that ``speedup`` or ``flops`` asks for, or the
    parameters that ``params`` does, are known.

    Raises ``UsageError``, ``InputError``, ``ImpossibleError`` where the target is out of reach, a proof
    fails or training diverges, and ``OutputError`` where the state cannot be written. Processes that
    torchrun started train together, as for :func:`prunecli.finetune`.
    """
    singled = Asked(heads, tuple(only), tuple(ignore), dict(ratio_for or {}), dict(round_to_for or {}))
    asked = _target(speedup, flops, params, ratio, plan, singled)
    calibration = Calibration(data, samples, transform, seed)
    trainings = Trainings(
        sparsify, sparsify_epochs, dict(sparsify_args or {}), rounds, prune_when, finetune_epochs,
        dict(finetune_args or {}),
    )  # fmt: skip
    trainings.check(data=data is not None, steps=steps, planned=plan is not None)
    course = None
    if trainings.any:
        kept = Kept.of(state, resume, save_seconds, metrics)
        course = Course.of(
            trainings, data=data, seed=seed, eval_data=eval_data, transform=transform, kept=kept,
            on_epoch=on_epoch,
        )  # fmt: skip
        if course.shrinking is not None:
            require_pickable(course.shrinking.method, asked, singled)
    elif eval_data is not None or resume:
        raise UsageError("nothing is trained here", "finetune_epochs=10")
    limits_kept = Gates.of(gates)
    limits_kept.require_data(data, eval_data, trains=course is not None)
    limits_kept.require_dense(init is None, "leave it out with --init random")
    measured = course is None and not limits_kept.asks_quality
    mend = _mend(repair, calibration, memory, repair_seconds, measured)
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} is not between 0 and {2**32 - 1}", "--seed 0")
    limits = Limits(protect, max_ratio, round_to)
    with limited(threads), _processes(course, device) as (team, target_device):
        told = progress if team.leads else None
        clock = Clock(told)
        gathering = Gathering(calibration, loss, temperature, reduce, memory, target_device, progress=told)
        if plan is None:
            gathering.check([criterion])
        with clock.stage("read"):
            naming = Naming(example_inputs, arch, arch_args, inputs, unsafe_load)
            dense = open_given(model_or_path, naming, init, seed)
            require_prunable(dense)
        judged = None
        if course is None and limits_kept.asks_quality:
            with clock.stage("data"):
                judged = opened(limits_kept, calibration, dense)

        def select(space: Space, tensors: Mapping[str, Tensor], program: Program | None = None) -> Choice:
            if plan is not None:
                return planned(space, tensors, plan)
            if program is not None and program.picks:
                return by_pick(program, space, tensors)

            def gathered(left: Space, cut: Mapping[str, Tensor], done: Plan) -> Evidence | None:
                network = pruned(dense.module, space, cut, done.keep)
                return gathering.evidence([criterion], network, left, dense.specs)

            return choose(
                space, tensors, criterion=criterion, scheme=scheme, target=asked, limits=limits,
                steps=steps if program is None else max(steps, program.course.times),
                seed=seed, reduce=reduce, normalize=normalize, tolerance=tolerance,
                device=str(target_device), asked=singled, gathered=gathered,
                trained=None if program is None else program.trained,
            )  # fmt: skip

        with evaluating(dense.module):
            options: dict[str, Any] = {
                "criterion": criterion, "scheme": scheme, "protect": protect, "max_ratio": max_ratio,
                "round_to": round_to, "steps": steps, "heads": heads, "only": list(only),
                "ignore": list(ignore), "ratio_for": [f"{g}={r}" for g, r in singled.ratio_for.items()],
                "round_to_for": [f"{g}={n}" for g, n in singled.round_to_for.items()], "reduce": reduce,
                "normalize": normalize, "loss": loss and shown(loss), "temperature": temperature,
                "repair": repair, **_data_options(calibration, mend, find(criterion)), "seed": seed,
                "tolerance": tolerance,
            }  # fmt: skip
            options |= {} if asked is None else {asked.kind: asked.value}
            options |= trainings.options() | ({} if init is None else {"init": init})

            def program(space: Space) -> Program:
                assert course is not None
                picking = Picking(space, singled, asked, scheme, limits, seed, target_device)
                made = Program(
                    course, dense, space, target_device, clock, options, picking,
                    lambda left, tensors: select(left, tensors).plan, init is not None, team,
                )  # fmt: skip
                made.check()
                require_labels(limits_kept, made.judged() if limits_kept.asks_quality else None)
                return made

            otherwise = "groups" if plan is None else "plan"
            trace = traced_for(singled) if plan is None else lambda dense: traced(dense, freed_by(plan))
            run = Pruning(
                dense, trace, select, asked, otherwise, tolerance, options, clock, target_device, mend,
                None if course is None else program, latency and team.leads,
                limits_kept if team.leads else limits_kept.without_latency, judged,
            )  # fmt: skip
            return replace(run.result(), _writes=team.leads)


def _processes(course: Course | None, device: str) -> AbstractContextManager[tuple[Team, torch.device]]:
    """Those that torchrun started, where there is something to train together."""
    if course is None:
        return nullcontext((ALONE, choose_device(device)))
    return joined(device, course.kept.state)


def _mend(
    repair: str, calibration: Calibration, memory: int, seconds: float | None, measured: bool
) -> Mend | None:
    """What ``repair`` and the options of its data ask for. Raises ``UsageError``."""
    if repair not in ("lstsq", "bn", "none"):
        raise unknown_name("repair", repair, ("lstsq", "bn", "none"))
    if memory < 1 << 20:
        raise UsageError(f"--memory is {memory} bytes", "at least 1 MB, like --memory 4GB")
    require_range(seconds is None or seconds > 0, "--repair-seconds", seconds, "a number of seconds above 0")
    samples = calibration.samples
    require_range(samples is None or samples >= 1, "--samples", samples, "a whole number from 1")
    if repair == "none":
        return None
    return Mend("bn" if repair == "bn" else "lstsq", calibration, memory, seconds, measured)


def _data_options(calibration: Calibration, mend: Mend | None, criterion: Criterion) -> dict[str, Any]:
    """What of them shapes the result, for the recipe; no paths."""
    if mend is None and not criterion.needs:
        return {}
    given = calibration.data
    return {
        "data": "samples" if isinstance(given, Samples) else shown(given or "noise"),
        "samples": calibration.samples, "transform": calibration.transform,
    } | ({} if mend is None else {"memory": mend.memory, "repair_seconds": mend.seconds})  # fmt: skip


def _target(
    speedup: float | None,
    flops: float | None,
    params: float | None,
    ratio: float | None,
    plan: Plan | None,
    singled: Asked,
) -> Target | None:
    given = {"speedup": speedup, "flops": flops, "params": params, "ratio": ratio}
    named = [(kind, value) for kind, value in given.items() if value is not None]
    wanted = 0 if singled.is_target and not named and plan is None else 1
    if len(named) + (plan is not None) != wanted:
        raise UsageError(
            "give exactly one target", "speedup=2, flops=0.5, params=0.5, ratio=0.5, heads=0.5 or plan=..."
        )
    if plan is not None and singled != Asked():
        raise UsageError(
            "a plan says all there is to do: heads, only, ignore, ratio_for and round_to_for go without it",
            "make the plan with them, then apply it alone",
        )
    return Target(named[0][0], named[0][1]) if named else None  # type: ignore[arg-type]


def inspect(
    model_or_path: nn.Module | str | Path,
    *,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    latency: bool = False,
    device: str = "auto",
    threads: int | None = None,
    unsafe_load: bool = False,
    progress: Callable[[str], None] | None = None,
    data: str | Samples | None = None,
    samples: int | None = None,
    transform: str | None = None,
    seed: int = 0,
) -> Inspection:
    """Layers, coupled groups, totals and zeros of a checkpoint or a module; with ``data``, as ``--data``
    takes it, also which channels give nothing but zeros on it; with ``latency`` how long it takes, on
    ``device`` with so many ``threads``. Raises ``UsageError`` and ``InputError``.
    """
    where = choose_device(device)
    clock = Clock(progress)
    with clock.stage("read"):
        dense = open_dense(model_or_path, example_inputs, arch, arch_args, inputs, unsafe_load)
    with evaluating(dense.module):
        with clock.stage("trace"):
            space = traced(dense)
        with clock.stage("count"):
            count = counted(dense, dense.module, space)
        with clock.stage("zeros"):
            seen = None
            if data is not None:
                seen = Calibration(data, samples, transform, seed).opened(dense.module, dense.specs)
            zeros = sparsity(dense.module, dense.specs, count.total, seen)
        layers = layer_rows(dense.module, None, count.by_module, count.by_module)
        timed = Measured(None)
        if latency:
            with clock.stage(STAGE), limited(threads):
                timed = measured(dense.module, None, dense.specs, layers, device=where)
        return Inspection(
            version=__version__,
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            totals=totals(dense.module, count),
            counter=count.counter,
            unsupported=count.unsupported,
            layers=layers,
            groups=group_rows(space, None),
            pinned=pinned_rows(space),
            timings=clock.seconds,
            notes=(
                *(() if seen is None else seen.notes),
                *unknown_operator_notes(space),
                *timed.notes,
            ),
            latency=timed.latency,
            sparsity=zeros,
        )

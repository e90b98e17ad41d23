"""``prune sparsify``: training that makes whole units small, before they are cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from prunecli.assembly import evaluating
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.data import Samples
from prunecli.errors import UsageError
from prunecli.finetuning import Finetuned, Run
from prunecli.gates import Gates
from prunecli.gating import require_labels
from prunecli.opening import Naming, open_against
from prunecli.plan import Plan
from prunecli.pruning import traced_for
from prunecli.regularizers import Method
from prunecli.report.epochs import EpochRow
from prunecli.report.trained import Finetuning
from prunecli.selection import Asked, Limits, Target
from prunecli.stages.course import Shrinking
from prunecli.stages.shrinking import Picking, UnitSparsifier
from prunecli.subjects import require_prunable
from prunecli.threads import limited
from prunecli.training.data import TrainingData
from prunecli.training.distributed import joined
from prunecli.training.kept import SAVE_SECONDS, Kept
from prunecli.training.settings import Settings
from prunecli.training.stage import Stage
from prunecli.training.subject import open_trainee


@dataclass(frozen=True)
class Sparsified:
    """A network with small units, as large as before. ``plan`` is what ``greg-1`` and ``greg-2`` picked, for
    :func:`prunecli.prune`; None where nothing was picked.
    """

    model: nn.Module
    report: Finetuning
    plan: Plan | None
    _trained: Finetuned = field(repr=False)

    def save(self, path: str | Path, *, force: bool = False) -> Finetuning:
        """As :meth:`prunecli.finetuning.Finetuned.save`."""
        return self._trained.save(path, force=force)


def sparsify(
    model_or_path: nn.Module | str | Path,
    *,
    regularizer: str,
    data: str | Samples,
    regularizer_args: Mapping[str, float] | None = None,
    speedup: float | None = None,
    flops: float | None = None,
    params: float | None = None,
    ratio: float | None = None,
    scheme: str = "protected",
    protect: float = 0.1,
    only: Sequence[str] = (),
    ignore: Sequence[str] = (),
    eval_data: str | Samples | None = None,
    samples: int | None = None,
    transform: str | None = None,
    against: nn.Module | str | Path | None = None,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
    state: str | Path | None = None,
    resume: bool = False,
    save_seconds: float = SAVE_SECONDS,
    metrics: str | Path | None = None,
    latency: bool = False,
    progress: Callable[[str], None] | None = None,
    on_epoch: Callable[[EpochRow], None] | None = None,
    unsafe_load: bool = False,
    gates: Mapping[str, float] | Gates | None = None,
    **settings: Any,
) -> Sparsified:
    """Train a checkpoint or a module with a ``regularizer`` of :func:`prunecli.regularizers.regularizers` on
    whole units; the input is never changed. Everything else is as for :func:`prunecli.finetune`, but that the
    learning rate is constant unless ``schedule`` says otherwise: what pulls units down is multiplied by it.

    ``regularizer_args`` are its numbers, like ``{"strength": 1e-3}``. ``greg-1`` and ``greg-2`` pick what is
    to go by a target (``speedup``, ``flops``, ``params`` or ``ratio``), as :func:`prunecli.prune` does with
    the criterion ``magnitude-l1`` on each unit's first slot, under ``scheme``. ``only`` and ``ignore`` are
    globs of groups. Raises ``UsageError``, ``InputError``, and ``ImpossibleError`` where training diverges or
    the target is out of reach.
    """
    shrinking = Shrinking.of(regularizer, regularizer_args or {})
    target = _target(shrinking.method, {"speedup": speedup, "flops": flops, "params": params, "ratio": ratio})
    chosen, limits = Settings.of({"schedule": "constant", **settings}), Gates.of(gates)
    limits.require_data(data, eval_data, trains=True)
    limits.require_dense(against is not None, "--against DENSE")
    kept = Kept.of(state, resume, save_seconds, metrics)
    asked = Asked(only=tuple(only), ignore=tuple(ignore))
    with limited(threads), joined(device, kept.state) as (team, where):
        clock = Clock(progress if team.leads else None)
        with clock.stage("read"):
            naming = Naming(example_inputs, arch, arch_args, inputs, unsafe_load)
            trainee = open_trainee(model_or_path, naming)
            require_prunable(trainee.dense)
            teacher = None if against is None else open_against(against, naming, trainee.subject)
        with clock.stage("trace"), evaluating(trainee.dense.module):
            space = traced_for(asked)(trainee.dense)
        with clock.stage("data"):
            found = TrainingData.opened(data, eval_data, trainee.specs, samples, transform, chosen.seed)
            require_labels(limits, found.judged)
        picking = Picking(space, asked, target, scheme, Limits(protect), chosen.seed, where)
        part = UnitSparsifier(shrinking, picking, chosen.decay)
        stage = Stage(found, chosen, where, clock, on_epoch, team, part)
        held = limits if team.leads else limits.without_latency
        run = Run(trainee, teacher, stage, held, latency=latency)
        trained = run.finetuned(kept.keeping(run.identity(transform)))
    return Sparsified(trained.model, trained.report, part.plan, trained)


def _target(method: Method, given: Mapping[str, float | None]) -> Target | None:
    """Raises ``UsageError`` where ``method`` needs exactly one, or has no use for one."""
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) != int(method.picks):
        if method.picks:
            raise UsageError(f"{method.name} needs exactly one target", "like --speedup 2")
        raise UsageError(
            f"{method.name} makes all units small, whatever is cut later", "give the target to prune run"
        )
    return Target(named[0][0], named[0][1]) if named else None  # type: ignore[arg-type]

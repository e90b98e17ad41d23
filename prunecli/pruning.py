"""One run of ``prune``: trace, choose, cut, count, prove, and write what was proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli import inputs as input_room
from prunecli.assembly import rebuilt
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.locating import bytes_of
from prunecli.checkpoint.recipe import Recipe
from prunecli.clock import Clock
from prunecli.configuring import Written, fitted
from prunecli.counting import Count
from prunecli.coupling import Space
from prunecli.coupling.space import Group
from prunecli.data import Samples
from prunecli.errors import ImpossibleError, InputError
from prunecli.gates import Figures, Gates, require_passed
from prunecli.gating import foretold, median, of_run
from prunecli.latency import STAGE, Measured, measured, with_latency
from prunecli.measuring import counted, totals, traced, unknown_operator_notes
from prunecli.plan import Plan
from prunecli.proofs import Subject, patches_for, pruned
from prunecli.quality import measure
from prunecli.repairing import Mend, Mended, mend
from prunecli.report.figures import Quality
from prunecli.report.gated import passed
from prunecli.report.model import Goal, Output, Proof, Report, Totals
from prunecli.report.rows import group_rows, layer_rows, pinned_rows, score_rows
from prunecli.saving import Saving, stored
from prunecli.selection import Asked, Choice, Target
from prunecli.selection.singled import held_for_heads, singled
from prunecli.stages import Program
from prunecli.stages.stable import sizes_of
from prunecli.subjects import Dense
from prunecli.surgery import cut
from prunecli.training.state import remove_state
from prunecli.zeros import sparsity

_MOST_ATTEMPTS = 8
"""How often groups that fail a proof are frozen and the choice is made again."""

_FORETOLD = (
    "nothing was trained: the cut after training has the target of this one, which is too large for a gate"
)


@dataclass(frozen=True)
class Result:
    """A pruned network. ``model`` is the ordinary class in eval mode, on the CPU; ``plan`` in dense
    numbering.
    """

    model: nn.Module
    report: Report
    plan: Plan
    space: Space
    _dense: Dense = field(repr=False)
    _recipe: Recipe = field(repr=False)
    _written: Written | None = field(repr=False, default=None)
    _states: tuple[Path, ...] = field(repr=False, default=())
    _writes: bool = field(repr=False, default=True)

    def save(self, path: str | Path, *, force: bool = False) -> Report:
        """Write the network as one safetensors file (a model directory, if it came as one) that
        :func:`prunecli.load` returns, and the report of it. The states of trainings are then removed.

        It is reloaded in a fresh process and its outputs compared before it takes its place. Raises
        ``GateError`` where the report has a gate that does not hold (the states then stay), ``UsageError`` if
        ``path`` exists without ``force``, ``ImpossibleError`` if the reloaded network differs,
        ``OutputError`` if it cannot be written. Of several processes that trained together the first writes;
        in the others this does nothing.
        """
        require_passed(self.report.gates, any(state.exists() for state in self._states))
        if not self._writes:
            return self.report
        began = perf_counter()
        saving = Saving(self._dense, self.model, self._recipe, self._written, self.report.after.macs)
        digest = saving.write(Path(path), force)
        for state in self._states:
            remove_state(state)
        timings = {**self.report.timings, "write and reload": perf_counter() - began}
        return replace(
            self.report,
            output=Output(Path(path).name, digest, bytes_of(Path(path))),
            proofs=(*self.report.proofs, *saving.proofs),
            notes=(*self.report.notes, *saving.notes),
            timings=timings,
        )


def traced_for(asked: Asked) -> Callable[[Dense], Space]:
    """The trace that frees what ``asked`` names; again with head sizes held, where they and the number of
    heads could shrink only jointly.
    """

    def trace(dense: Dense) -> Space:
        space = traced(dense, asked.frees)
        held = held_for_heads(asked, space)
        return traced(dense, asked.frees, held) if held else space

    return trace


def freed_by(plan: Plan) -> Callable[[Group], bool]:
    """The groups that ``plan`` cuts, whatever their kind."""
    return lambda group: group.name in plan.keep


def planned(space: Space, tensors: Mapping[str, Tensor], plan: Plan) -> Choice:
    """A plan applied as it is. Raises ``InputError`` if it is not one of this network."""
    for name in plan.keep:
        if name not in space.sizes:
            raise InputError(f"the plan cuts group '{name}', which this network does not have")
        if plan.dense[name] != space.sizes[name]:
            raise InputError(
                f"the plan was made for {plan.dense[name]} units in '{name}', here it has {space.sizes[name]}"
            )
    left = space.resized(plan.sizes)
    broken = [guard.where for guard in space.guards if not guard.holds(left.sizes)]
    if broken:
        raise ImpossibleError(f"the plan breaks a size that {broken[0]} relies on")
    began = perf_counter()
    after = cut(tensors, space, plan.keep)
    return Choice(plan, left, after, (), (perf_counter() - began,), 0.0)


def by_pick(program: Program, space: Space, tensors: Mapping[str, Tensor]) -> Choice:
    """What the regularizer of ``program`` picked, cut from the network that it trained. Raises
    ``ImpossibleError`` if it picked nothing.
    """
    after = program.trained(space, tensors, Plan({}, {}), 0)
    if program.picked is None:
        raise ImpossibleError(
            "the regularizer had picked nothing by the end of training", "a higher --sparsify-epochs"
        )
    choice = planned(space, after, program.picked)
    dense = sizes_of(singled(program.picking.asked, space, alone=False).space)
    left = sum(choice.space.sizes[name] for name in dense)
    return replace(choice, reached=1 - left / max(1, sum(dense.values())))


@dataclass
class Pruning:
    """One run: trace, choose, cut, count, prove; groups that fail a proof are frozen and the rest goes on.

    ``trace`` gives the space, ``select`` what to keep of it, ``program`` what is trained meanwhile;
    ``otherwise`` is the kind of the report's target where ``asked`` is None. Where ``gates`` do not hold for
    the sizes of the cut, it is neither repaired nor trained, and not trained before the cut either where the
    target says so much. ``judged`` is what gates of quality look at where nothing is trained.
    """

    dense: Dense
    trace: Callable[[Dense], Space]
    select: Callable[[Space, Mapping[str, Tensor], Program | None], Choice]
    asked: Target | None
    otherwise: str
    tolerance: float
    options: dict[str, Any]
    clock: Clock
    device: torch.device
    repair: Mend | None = None
    program: Callable[[Space], Program] | None = None
    latency: bool = False
    gates: Gates = field(default_factory=Gates)
    judged: Samples | None = None

    def result(self) -> Result:
        dense = self.dense
        tensors = {name: tensor.detach().cpu() for name, tensor in dense.tensors.items()}
        with self.clock.stage("trace"):
            space = self.trace(dense)
        on_device = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        with self.clock.stage("count"):
            before = counted(dense, dense.module, space)
        choice, proofs, failed = self._proved(space, tensors, on_device, before.total)
        program = None if self.program is None else self.program(space.frozen(failed))
        early = self._too_large(space, before, choice, program)
        if program is not None and program.course.before is not None and early is None:
            choice = self.select(program.space, on_device, program)
            with self.clock.stage("prove"):
                proofs, _ = self._prove(space, tensors, choice, before.total)
            _require_proved(proofs)
        after = {name: tensor.cpu() for name, tensor in choice.tensors.items()}
        as_cut = pruned(dense.module, space, after, choice.plan.keep)
        with self.clock.stage("count"):
            after_count = counted(dense, as_cut, choice.space)
        goes_on, timed = self._early(as_cut, before, after_count, program)
        model, mended = self._mend(as_cut, space, choice, program) if goes_on else (as_cut, None)
        recipe = self._recipe(model, choice, space, mended, None if early is not None else program)
        quality = {} if mended is None else mended.quality
        if goes_on and program is None and self.judged is not None:
            quality = self._quality(self.judged, as_cut, None if mended is None else model)
        if goes_on and program is not None:
            repaired = None if mended is None else model
            model, recipe, quality = program.finished(as_cut, repaired, recipe)
        written = None
        if dense.directory is not None:
            with self.clock.stage("fit the configuration"):
                specs = input_room.smaller(dense.specs, after_count.total)
                written = fitted(dense.directory, model, recipe.patches, specs)
        report = self._report(model, choice, space, before, after_count, proofs, failed, mended)
        report = self._judged(replace(report, quality=quality), model, program, timed, early)
        whole = choice.space.resized(space.sizes)
        states = () if program is None else program.files
        return Result(model, report, choice.plan, whole, dense, recipe, written, states)

    def _proved(
        self, space: Space, tensors: Mapping[str, Tensor], on_device: Mapping[str, Tensor], macs: int
    ) -> tuple[Choice, list[Proof], dict[str, str]]:
        """A cut that holds, its proofs, and the groups that had to be left whole for it. Raises
        ``ImpossibleError``.
        """
        failed: dict[str, str] = {}
        for _ in range(_MOST_ATTEMPTS):
            with self.clock.stage("score, select, cut"):
                choice = self.select(space.frozen(failed), on_device, None)
            with self.clock.stage("prove"):
                proofs, culprits = self._prove(space, tensors, choice, macs)
            if not culprits:
                break
            failed |= culprits
        _require_proved(proofs)
        return choice, proofs, failed

    def _judged(
        self,
        report: Report,
        model: nn.Module,
        program: Program | None,
        timed: Measured | None,
        early: Figures | None,
    ) -> Report:
        """``report`` with what was trained, how long ``model`` takes (unless it was ``timed`` already), and
        what the gates say: of all that, or of what was known ``early``.
        """
        if program is not None:
            notes = tuple(dict.fromkeys((*report.notes, *program.notes)))
            report = replace(report, training=tuple(program.stages), notes=notes)
        if timed is not None:
            report = replace(report, latency=timed.latency, notes=(*report.notes, *timed.notes))
        elif self.latency:
            dense = self.dense
            report = with_latency(report, dense.module, model, dense.specs, self.device, self.clock)
        if early is None:
            return replace(report, gates=of_run(self.gates, report))
        return replace(report, gates=self.gates.judged(early), notes=(*report.notes, _FORETOLD))

    def _too_large(
        self, space: Space, before: Count, choice: Choice, program: Program | None
    ) -> Figures | None:
        """What of the cut before training keeps a gate from holding after it as well; so say all
        processes.
        """
        if program is None or program.course.before is None or not self.gates.asks_sizes:
            return None
        dense = self.dense
        tensors = {name: tensor.cpu() for name, tensor in choice.tensors.items()}
        as_cut = pruned(dense.module, space, tensors, choice.plan.keep)
        with self.clock.stage("count"):
            after = counted(dense, as_cut, choice.space)
        sizes = totals(dense.module, before), totals(as_cut, after)
        found = foretold(self.gates, self.asked, *sizes, self.tolerance)
        return found if program.team.told(found is not None) else None

    def _early(
        self, as_cut: nn.Module, before: Count, after: Count, program: Program | None
    ) -> tuple[bool, Measured | None]:
        """Whether the gates hold that depend on no weights, and the latency where one of them asks; so say
        all processes.
        """
        dense, timed = self.dense, None
        figures = Figures.of(totals(as_cut, after))
        goes_on = passed(self.gates.of_sizes.judged(figures))
        if goes_on and self.gates.max_latency is not None:
            rows = layer_rows(dense.module, as_cut, before.by_module, after.by_module)
            with self.clock.stage(STAGE):
                timed = measured(
                    dense.module, as_cut, dense.specs, rows, device=self.device,
                    macs=(before.total, after.total), round_to=self.options.get("round_to", 1),
                )  # fmt: skip
            figures = replace(figures, latency=median(timed.latency))
            goes_on = passed(self.gates.before_training.judged(figures))
        return (goes_on if program is None else program.team.told(goes_on)), timed

    def _mend(
        self, model: nn.Module, space: Space, choice: Choice, program: Program | None
    ) -> tuple[nn.Module, Mended | None]:
        """Toward what was cut: the dense network, or what it had become by the last cut."""
        if self.repair is None or not choice.plan.keep:
            return model, None
        whole, keep = self.dense.module, choice.plan.keep
        if program is not None and program.before is not None:
            whole, space = program.before.module, program.before.space
            keep = program.before.later(choice.plan).keep
        with self.clock.stage("repair"):
            mended = mend(
                self.repair, whole, model, space, keep, self.dense.specs, self.device, self.clock.progress
            )  # fmt: skip
        return (rebuilt(model, mended.tensors).eval() if mended.tensors else model), mended

    def _quality(
        self, judged: Samples, as_cut: nn.Module, repaired: nn.Module | None
    ) -> Mapping[str, Quality]:
        """As repair measures it, but also where nothing was repaired."""
        dense = self.dense.module
        networks = {"dense": dense, "cut": as_cut} | ({} if repaired is None else {"repaired": repaired})
        with self.clock.stage("evaluate"):
            return measure(networks, judged, against=dense)

    def _prove(
        self, space: Space, tensors: Mapping[str, Tensor], choice: Choice, macs: int
    ) -> tuple[list[Proof], dict[str, str]]:
        specs = self.dense.specs
        choices = dict.fromkeys((input_room.smaller(specs, macs), tuple(specs)))
        subject = Subject.open(self.dense.module, tensors, space, [input_room.make(s) for s in choices])
        proofs = subject.prove(choice.plan.keep)
        if all(proof.passed for proof in proofs):
            return proofs, {}
        return proofs, subject.culprits(choice.plan.keep)

    def _recipe(
        self, model: nn.Module, choice: Choice, space: Space, mended: Mended | None, program: Program | None
    ) -> Recipe:
        """The cut's digests are those of the dense network, whatever was trained before it."""
        keep = choice.plan.keep
        as_cut = pruned(self.dense.module, space, cut(self.dense.tensors, space, keep), keep)
        trained = () if program is None else program.changed_by
        digests = tensor_digests(stored(model, self.dense))
        source = self.dense.source
        return Recipe(
            arch=self.dense.arch,
            arguments=dict(self.dense.arguments),
            inputs=tuple(self.dense.specs),
            shapes=stored_shapes(model, self.dense.tensors),
            patches=patches_for(space, choice.plan.sizes),
            plan=choice.plan,
            digests=digests,
            cut_digests=tensor_digests(stored(as_cut, self.dense)),
            changed_by=(*trained, *(() if mended is None else mended.changed_by)),
            source_digest=source.digest if source else "",
            options=self.options if program is None else {**self.options, **program.settings},
        )

    def _report(
        self, model: nn.Module, choice: Choice, space: Space, before: Count, after: Count,
        proofs: list[Proof], failed: Mapping[str, str], mended: Mended | None,
    ) -> Report:  # fmt: skip
        dense = self.dense
        dense_size, pruned_size = totals(dense.module, before), totals(model, after)
        goal = self._goal(dense_size, pruned_size, choice)
        notes = list(choice.notes)
        if before.counter == "fvcore" and space.macs.value(space.sizes) != before.total:
            notes.append(
                f"the cost formula gives {space.macs.value(space.sizes)} MACs, fvcore {before.total}"
            )
        notes += unknown_operator_notes(space)
        notes += [] if mended is None else mended.notes
        return Report(
            version=__version__,
            command=(),
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            target=goal,
            before=dense_size,
            after=pruned_size,
            counter=before.counter,
            unsupported=before.unsupported,
            layers=layer_rows(dense.module, model, before.by_module, after.by_module),
            groups=group_rows(choice.space.resized(space.sizes), choice.plan.sizes, failed),
            pinned=pinned_rows(space),
            steps=choice.step_seconds,
            timings=dict(self.clock.seconds),
            proofs=tuple(proofs),
            options={k: tuple(v) if isinstance(v, list) else v for k, v in self.options.items()},
            notes=tuple(notes),
            repair=None if mended is None else mended.facts,
            sparsity=sparsity(model, dense.specs, after.total),
            scores=score_rows(choice.scores, choice.stay),
        )

    def _goal(self, before: Totals, after: Totals, choice: Choice) -> Goal:
        """What was reached, by the reported counter. Raises ``ImpossibleError`` if that is short of the
        target.
        """
        if self.asked is None:
            return Goal(self.otherwise, None, before.macs / max(1, after.macs), self.tolerance, True)
        kind, asked = self.asked.kind, self.asked.value
        reached = {
            "speedup": before.macs / max(1, after.macs),
            "flops": after.macs / max(1, before.macs),
            "params": after.params / max(1, before.params),
            "ratio": choice.reached,
        }[kind]
        short = {"speedup": asked / max(reached, 1e-12), "ratio": (1 - reached) / (1 - asked)}.get(
            kind, reached / asked
        )
        if short > 1 + self.tolerance + 1e-9:
            raise ImpossibleError(
                f"--{kind} {asked:g} was not reached: {reached:.4g} by {kind} after the cut",
                "a lower target, a lower --protect, or a higher --tolerance",
            )
        return Goal(kind, asked, reached, self.tolerance, True)


def stored_shapes(model: nn.Module, dense: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Of all that the file holds, and of the buffers which are not in it but became smaller."""
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    changed = {
        name: tuple(buffer.shape)
        for name, buffer in model.named_buffers(remove_duplicate=False)
        if name not in shapes and buffer.shape != dense[name].shape
    }
    return shapes | changed


def _require_proved(proofs: Sequence[Proof]) -> None:
    failed = next((proof for proof in proofs if not proof.passed), None)
    if failed is not None:
        raise ImpossibleError(
            f"{failed.name} failed: {failed.detail}", "nothing was written; please report this"
        )

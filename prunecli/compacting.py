"""``prune compact``: units that make no difference go, and the function stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, evaluating, working_copy
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import Scalar
from prunecli.clock import Clock
from prunecli.configuring import fitted
from prunecli.counting import Count
from prunecli.coupling import Space
from prunecli.coupling.space import Bundle
from prunecli.dead.folding import folded
from prunecli.dead.readings import Readings, read
from prunecli.dead.units import Found, Search
from prunecli.errors import ImpossibleError, InputError, UsageError, first_line
from prunecli.inputs import Inputs
from prunecli.measuring import counted, totals, traced_with_uses, unknown_operator_notes
from prunecli.plan import Plan
from prunecli.proofs import FORWARD_ERRORS, Subject, patches_for, pruned, relative_error, run
from prunecli.pruning import Result, stored_shapes
from prunecli.report.model import Goal, Proof, Report
from prunecli.report.rows import group_rows, layer_rows, pinned_rows
from prunecli.report.sparse import LayerSparsity
from prunecli.report.text import plural
from prunecli.saving import stored
from prunecli.subjects import Dense, open_dense, require_prunable
from prunecli.surgery import cut
from prunecli.threads import limited
from prunecli.zeros import sparsity

SAME, SAME_STORED = "same function", "same function as stored"
TOLERANCE = 1e-9
"""Largest relative error of the outputs in float64."""

STEPS = 8
"""The same for the tensors in the type they are stored in, in steps of that type (1e-6 of float32)."""

INPUTS = 3
"""How many seeded inputs the function is compared on."""

NOTHING = "none of its units is dead"
UNCHANGED = "nothing can be removed without changing the function: the file holds the same tensors"

_MOST_ATTEMPTS = 8


def compact(
    model_or_path: nn.Module | str | Path,
    *,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    unsafe_load: bool = False,
    seed: int = 0,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Remove every unit of a checkpoint file or a module that gives the same whatever the input is, or that
    nothing reads; what such a unit gives goes into a bias, or the mean of a norm, where it is not zero. The
    input is never changed, and the outputs (in eval mode) stay what they were.

    The arguments are those of :func:`prunecli.prune`; ``seed`` draws the inputs that the outputs are compared
    on. Where nothing can go the result is the network as it was. Raises ``UsageError``, ``InputError``, and
    ``ImpossibleError`` if the outputs are not the same after all.
    """
    if not 0 <= seed < 2**32 - INPUTS:
        raise UsageError(f"--seed {seed} is out of range", "--seed 0")
    with limited(threads):
        clock = Clock(progress)
        with clock.stage("read"):
            dense = open_dense(
                model_or_path, example_inputs, arch, arch_args, inputs, unsafe_load,
                instead="compact the dense checkpoint",
            )  # fmt: skip
            require_prunable(dense)
        with evaluating(dense.module):
            return _Compacting(dense, seed, clock).result()


@dataclass
class _Compacting:
    dense: Dense
    seed: int
    clock: Clock
    failed: dict[str, str] = field(default_factory=dict)

    def result(self) -> Result:
        dense, clock = self.dense, self.clock
        with clock.stage("trace"):
            space, uses = traced_with_uses(dense)
        with clock.stage("count"):
            before = counted(dense, dense.module, space)
        with clock.stage("look for what is constant"):
            work = _Function.open(dense, space, before.total, self.seed)
        for _ in range(_MOST_ATTEMPTS):
            with clock.stage("choose"):
                found = Search(space.frozen(self.failed), work.tensors, work.readings, uses).found()
            with clock.stage("prove"):
                proof = work.proof(found.keep)
                if proof.passed:
                    break
                self.failed |= work.culprits(found.keep)
        if not proof.passed:
            raise ImpossibleError(f"{proof.name}: {proof.detail}", "nothing was written; please report this")
        with clock.stage("prove"):
            model, changed = work.compacted(found.keep, as_stored=True)
            proofs = [proof, *work.stored_proof(model), *work.cut_proofs(found.keep)]
        failed = next((one for one in proofs if not one.passed), None)
        if failed is not None:
            raise ImpossibleError(
                f"{failed.name}: {failed.detail}", "nothing was written; please report this"
            )
        return self._result(space, found, before, model, changed, proofs)

    def _result(
        self, space: Space, found: Found, before: Count, model: nn.Module, changed: Sequence[str],
        proofs: Sequence[Proof],
    ) -> Result:  # fmt: skip
        dense, clock = self.dense, self.clock
        plan = Plan(found.keep, {name: space.sizes[name] for name in found.keep})
        left = space.resized(plan.sizes)
        with clock.stage("count"):
            after = counted(dense, model, left)
        recipe = self._recipe(model, space, plan, found, changed)
        written = None
        if dense.directory is not None:
            with clock.stage("fit the configuration"):
                specs = input_room.smaller(dense.specs, after.total)
                written = fitted(dense.directory, model, recipe.patches, specs)
        sizes = totals(dense.module, before), totals(model, after)
        zeros = sparsity(model, dense.specs, after.total)
        reached = sizes[0].macs / max(1, sizes[1].macs)
        report = Report(
            version=__version__,
            command=(),
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            target=Goal("compact", None, reached, 0.0, True),
            before=sizes[0],
            after=sizes[1],
            counter=before.counter,
            unsupported=before.unsupported,
            layers=layer_rows(dense.module, model, before.by_module, after.by_module),
            groups=group_rows(space, plan.sizes, _reasons(space, found, self.failed)),
            pinned=pinned_rows(space),
            steps=(),
            timings=dict(clock.seconds),
            proofs=tuple(proofs),
            options={"seed": self.seed},
            notes=(
                *_notes(space, found, changed),
                *_dead_alone(zeros, found),
                *unknown_operator_notes(space),
            ),
            sparsity=zeros,
        )
        return Result(model, report, plan, space, dense, recipe, written)

    def _recipe(
        self, model: nn.Module, space: Space, plan: Plan, found: Found, changed: Sequence[str]
    ) -> Recipe:
        dense = self.dense
        as_cut = pruned(dense.module, space, cut(dense.tensors, space, plan.keep), plan.keep)
        folded_into = f"compact (constants of removed units folded into {plural(len(changed), 'tensor')})"
        return Recipe(
            arch=dense.arch,
            arguments=dict(dense.arguments),
            inputs=tuple(dense.specs),
            shapes=stored_shapes(model, dense.tensors),
            patches=patches_for(space, plan.sizes),
            plan=plan,
            digests=tensor_digests(stored(model, dense)),
            cut_digests=tensor_digests(stored(as_cut, dense)),
            changed_by=(folded_into,) if changed else (),
            source_digest=dense.source.digest if dense.source else "",
            options={"seed": self.seed},
        )


@dataclass(frozen=True)
class _Function:
    """What the network computes, in float64, before and after units go. ``wanted``: its outputs on every one
    of ``inputs``.
    """

    dense: Dense
    space: Space
    network: nn.Module
    readings: Readings
    inputs: Sequence[Inputs]
    wanted: Sequence[list[Tensor]]
    macs: int

    @property
    def tensors(self) -> dict[str, Tensor]:
        return all_tensors(self.network)

    @staticmethod
    def open(dense: Dense, space: Space, macs: int, seed: int) -> _Function:
        """On smaller inputs where the network takes them. Raises ``InputError`` where it does not run."""
        network = working_copy(dense.module, torch.device("cpu"), torch.float64)
        problem = ""
        for specs in dict.fromkeys((input_room.smaller(dense.specs, macs), tuple(dense.specs))):
            inputs = [input_room.make(specs, seed + number) for number in range(INPUTS)]
            try:
                readings = read(network, inputs[0])
                wanted = [run(network, one, torch.float64) for one in inputs]
            except FORWARD_ERRORS as error:
                problem = first_line(error)
                continue
            return _Function(dense, space, network, readings, inputs, wanted, macs)
        raise InputError(f"the network does not run in float64: {problem}", "give another --input")

    def compacted(
        self, keep: Mapping[str, Sequence[int]], as_stored: bool = False
    ) -> tuple[nn.Module, tuple[str, ...]]:
        """What is left of the network, and the names of the tensors that took constants. ``as_stored``: in
        the types of the dense network, whose other tensors it has bit for bit.
        """
        tensors, changed = folded(self.tensors, self.space, self.readings, keep)
        module: nn.Module = self.network
        if as_stored:
            module, old = self.dense.module, self.dense.tensors
            new = {name: tensors[name].to(old[name]) for name in changed}
            changed = tuple(name for name in changed if not torch.equal(new[name], old[name]))
            tensors = {name: tensor.detach().cpu() for name, tensor in old.items()} | {
                name: new[name].cpu() for name in changed
            }
        return pruned(module, self.space, cut(tensors, self.space, keep), keep), changed

    def proof(self, keep: Mapping[str, Sequence[int]]) -> Proof:
        return self._compared(SAME, lambda: self.compacted(keep)[0], TOLERANCE)

    def stored_proof(self, model: nn.Module) -> list[Proof]:
        """The same of the tensors as they are stored, computed in float64: what rounding them changes."""
        types = {tensor.dtype for tensor in self.dense.tensors.values() if tensor.is_floating_point()}
        step = max((torch.finfo(dtype).eps for dtype in types), default=0.0)
        return [self._compared(SAME_STORED, lambda: model, max(TOLERANCE, STEPS * step))]

    def cut_proofs(self, keep: Mapping[str, Sequence[int]]) -> list[Proof]:
        """Those that ``prune verify --against`` takes again."""
        specs = dict.fromkeys((input_room.smaller(self.dense.specs, self.macs), tuple(self.dense.specs)))
        choices = [input_room.make(one) for one in specs]
        return Subject.open(self.dense.module, self.dense.tensors, self.space, choices).prove(keep)

    def _compared(self, name: str, make: Callable[[], nn.Module], tolerance: float) -> Proof:
        try:
            model = make()
            error = max(
                relative_error(wanted, run(model, one, torch.float64))
                for one, wanted in zip(self.inputs, self.wanted, strict=True)
            )
        except FORWARD_ERRORS as raised:
            return Proof(name, False, None, tolerance, f"forward raised: {first_line(raised)}")
        passed = error <= tolerance
        detail = f"{len(self.inputs)} seeded inputs, in float64"
        return Proof(name, passed, error, tolerance, detail if passed else f"relative error {error:.3g}")

    def culprits(self, keep: Mapping[str, Sequence[int]]) -> dict[str, str]:
        """The groups without which the function is the same, found by halving, each with the reason."""
        bundles = [b for b in self.space.bundles if any(member.group in keep for member in b.members)]
        found = {}
        for bundle in self._failing(bundles, keep):
            proof = self.proof(_part(keep, [bundle]))
            why = "only together with others" if proof.passed else proof.detail
            names = (member.group for member in bundle.members)
            found.update(dict.fromkeys(names, f"without its dead units the function is another: {why}"))
        return found

    def _failing(self, bundles: list[Bundle], keep: Mapping[str, Sequence[int]]) -> list[Bundle]:
        if self.proof(_part(keep, bundles)).passed:
            return []
        if len(bundles) == 1:
            return bundles
        half = len(bundles) // 2
        found = self._failing(bundles[:half], keep) + self._failing(bundles[half:], keep)
        return found or bundles


def _part(keep: Mapping[str, Sequence[int]], bundles: Sequence[Bundle]) -> dict[str, Sequence[int]]:
    names = {member.group for bundle in bundles for member in bundle.members}
    return {name: kept for name, kept in keep.items() if name in names}


def _reasons(space: Space, found: Found, failed: Mapping[str, str]) -> dict[str, str]:
    """Why groups that lose nothing do not."""
    return {
        name: failed.get(name) or "; ".join(dict.fromkeys(found.stays.get(name, {}).values())) or NOTHING
        for name in space.sizes
    }


def _notes(space: Space, found: Found, changed: Sequence[str]) -> list[str]:
    """What went, what was folded, and what does nothing and stays all the same, in one line per reason."""
    gone = {name: space.sizes[name] - len(kept) for name, kept in found.keep.items()}
    notes = [UNCHANGED]
    if gone:
        into = f", their constants folded into {plural(len(changed), 'tensor')}" if changed else ""
        notes = [f"{plural(sum(gone.values()), 'unit')} of {plural(len(gone), 'group')} removed{into}"]
    counts: Counter[str] = Counter()
    for name, units in found.stays.items():
        for reason, number in Counter(units.values()).items():
            counts[f"of '{name}': {reason}"] = number
    return notes + [
        f"{plural(number, 'dead unit')} {'stays' if number == 1 else 'stay'} {what}"
        for what, number in counts.items()
    ]


def _dead_alone(left: Sequence[LayerSparsity], found: Found) -> list[str]:
    """Why zeros are reported of more channels than the units which stay for a reason of their own."""
    dead = sum(row.dead for row in left)
    if dead <= sum(map(len, found.stays.values())):
        return []
    these = "channel that is left is dead in its" if dead == 1 else "channels that are left are dead in their"
    return [f"{dead} {these} layer; a unit of a sum is dead only if all that make it are"]

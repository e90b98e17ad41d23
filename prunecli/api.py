"""The Python API: ``prune``, ``inspect``, ``verify``. Each stage is a function of the stage before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli import inputs as input_room
from prunecli.assembly import evaluating, put
from prunecli.checkpoint.digests import tensor_digests
from prunecli.checkpoint.reading import read
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.specs import Scalar
from prunecli.checkpoint.writing import write
from prunecli.counting import Count, count, sizes_of
from prunecli.coupling import Space, trace
from prunecli.errors import ImpossibleError, InputError, UsageError
from prunecli.fresh import reload_proof
from prunecli.loading import load, verify_digests
from prunecli.networks.resolving import resolve
from prunecli.plan import Plan
from prunecli.report.model import (
    Goal,
    Inspection,
    NetworkFacts,
    Output,
    Proof,
    Report,
    Source,
    Totals,
    Verification,
)
from prunecli.report.rows import group_rows, layer_rows, pinned_rows
from prunecli.selection import Choice, Limits, Target, choose
from prunecli.subjects import Dense, choose_device, open_dense, require_prunable
from prunecli.surgery import cut
from prunecli.verify import FORWARD_ERRORS, Subject, patches_for, relative_error, resized, run

_MOST_ATTEMPTS = 8
"""How often groups that fail a proof are frozen and the choice is made again."""


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

    def save(self, path: str | Path, *, force: bool = False) -> Report:
        """Write the network as one safetensors file that :func:`prunecli.load` returns, and the report of
        it.

        The file is reloaded in a fresh process and its outputs compared before it takes its place. Raises
        ``UsageError`` if ``path`` exists without ``force``, ``ImpossibleError`` if the reloaded network
        differs, ``OutputError`` if it cannot be written.
        """
        began = perf_counter()
        proofs: list[Proof] = []

        def check(temporary: Path) -> None:
            proofs.append(self._reload(temporary))
            if not proofs[0].passed:
                raise ImpossibleError(
                    f"the written file does not reload as the same network: {proofs[0].detail}",
                    "nothing was written; please report this",
                )

        digest = write(path, self.model.state_dict(), self._recipe, check=check, force=force)
        timings = {**self.report.timings, "write and reload": perf_counter() - began}
        output = Output(Path(path).name, digest, Path(path).stat().st_size)
        return replace(self.report, output=output, proofs=(*self.report.proofs, *proofs), timings=timings)

    def _reload(self, path: Path) -> Proof:
        specs = input_room.smaller(self._dense.specs, self.report.after.macs)
        try:
            expected = self._outputs(input_room.make(specs))
        except FORWARD_ERRORS:
            specs = self._dense.specs
            expected = self._outputs(input_room.make(specs))
        if self._recipe.arch == "module":
            # A module handed over in Python cannot be built by another process.
            loaded = load(path, into=_copy(self._dense.module))
            error = relative_error(expected, run(loaded, _state(loaded), input_room.make(specs)))
            return Proof("reload", error <= 1e-4, error, 1e-4, "into a copy of the module, in this process")
        return reload_proof(path, specs, expected, self._dense.given_arch)

    def _outputs(self, values: Sequence[Tensor]) -> list[Tensor]:
        return run(self.model, _state(self.model), values)


def _copy(module: nn.Module) -> nn.Module:
    from prunecli.assembly import skeleton

    return put(skeleton(module), _state(module))


def _state(module: nn.Module) -> dict[str, Tensor]:
    from prunecli.assembly import all_tensors

    return all_tensors(module)


class _Clock:
    """Seconds per stage, and a word to whoever watches."""

    def __init__(self, progress: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self._progress is not None:
            self._progress(name)
        began = perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - began


def prune(
    model_or_path: nn.Module | str | Path,
    *,
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
    ignore: Sequence[str] = (),
    reduce: str = "sum",
    normalize: str | None = None,
    repair: str = "none",
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    tolerance: float = 0.005,
    plan: Plan | None = None,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Prune a checkpoint file or a module to one target; the input is never changed.

    Exactly one of ``speedup`` (dense MACs / pruned MACs), ``flops``, ``params`` (fractions kept), ``ratio``
    (fraction of units removed) or ``plan``. ``inputs`` as ``--input`` takes them; ``example_inputs`` a
    tensor or a tuple. Raises ``UsageError``, ``InputError``, and ``ImpossibleError`` where the target is out
    of reach or a proof fails.
    """
    asked = _target(speedup, flops, params, ratio, plan)
    if repair != "none":
        raise UsageError(f"unknown repair '{repair}'", "this version knows only --repair none")
    limits = Limits(protect, max_ratio, round_to)
    target_device = choose_device(device)
    clock = _Clock(progress)
    with _threads(threads):
        with clock.stage("read"):
            dense = open_dense(model_or_path, example_inputs, arch, arch_args, inputs)
            require_prunable(dense)

        def select(space: Space, tensors: Mapping[str, Tensor]) -> Choice:
            if plan is not None or asked is None:
                return _planned(space, tensors, plan or Plan({}, {}))
            return choose(
                space, tensors, criterion=criterion, scheme=scheme, target=asked, limits=limits, steps=steps,
                seed=seed, reduce=reduce, normalize=normalize, tolerance=tolerance,
                device=str(target_device), ignore=ignore,
            )  # fmt: skip

        with evaluating(dense.module):
            options: dict[str, Any] = {
                "criterion": criterion, "scheme": scheme, "protect": protect, "max_ratio": max_ratio,
                "round_to": round_to, "steps": steps, "ignore": list(ignore), "reduce": reduce,
                "normalize": normalize, "repair": repair, "seed": seed, "tolerance": tolerance,
            }  # fmt: skip
            options |= {} if asked is None else {asked.kind: asked.value}
            return _Pruning(dense, select, asked, tolerance, options, clock, target_device).result()


def _target(
    speedup: float | None, flops: float | None, params: float | None, ratio: float | None, plan: Plan | None
) -> Target | None:
    given = {"speedup": speedup, "flops": flops, "params": params, "ratio": ratio}
    named = [(kind, value) for kind, value in given.items() if value is not None]
    if len(named) + (plan is not None) != 1:
        raise UsageError("give exactly one target", "speedup=2, flops=0.5, params=0.5, ratio=0.5 or plan=...")
    return Target(named[0][0], named[0][1]) if named else None  # type: ignore[arg-type]


def _planned(space: Space, tensors: Mapping[str, Tensor], plan: Plan) -> Choice:
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


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    if number is not None and number < 1:
        raise UsageError(f"--threads {number} is not a positive integer", "--threads 2")
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass
class _Pruning:
    """One run: trace, choose, cut, count, prove; groups that fail a proof are frozen and the rest goes on."""

    dense: Dense
    select: Callable[[Space, Mapping[str, Tensor]], Choice]
    asked: Target | None
    tolerance: float
    options: dict[str, Any]
    clock: _Clock
    device: torch.device

    def result(self) -> Result:
        dense = self.dense
        tensors = {name: tensor.detach().cpu() for name, tensor in dense.tensors.items()}
        with self.clock.stage("trace"):
            space = _traced(dense)
        on_device = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        with self.clock.stage("count"):
            before = _counted(dense.module, tensors, dense)
        failed: dict[str, str] = {}
        for _ in range(_MOST_ATTEMPTS):
            with self.clock.stage("score, select, cut"):
                choice = self.select(space.frozen(failed), on_device)
            with self.clock.stage("prove"):
                proofs, culprits = self._prove(space, tensors, choice, before.total)
            if not culprits:
                break
            failed |= culprits
        _require_proved(proofs)
        after = {name: tensor.cpu() for name, tensor in choice.tensors.items()}
        model = put(resized(dense.module, space, after, choice.plan.keep), after).eval()
        with self.clock.stage("count"):
            counted = _counted(model, after, dense)
        report = self._report(model, choice, space, before, counted, proofs, failed)
        return Result(
            model,
            report,
            choice.plan,
            choice.space.resized(space.sizes),
            dense,
            self._recipe(model, choice, space),
        )

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

    def _recipe(self, model: nn.Module, choice: Choice, space: Space) -> Recipe:
        state = model.state_dict()
        digests = tensor_digests(state)
        source = self.dense.source
        return Recipe(
            arch=self.dense.arch,
            arguments=dict(self.dense.arguments),
            inputs=tuple(self.dense.specs),
            shapes={name: tuple(tensor.shape) for name, tensor in state.items()},
            patches=patches_for(space, choice.plan.sizes),
            plan=choice.plan,
            digests=digests,
            cut_digests=digests,
            source_digest=source.digest if source else "",
            options=self.options,
        )

    def _report(
        self, model: nn.Module, choice: Choice, space: Space, before: Count, after: Count,
        proofs: list[Proof], failed: Mapping[str, str],
    ) -> Report:  # fmt: skip
        dense = self.dense
        totals = _totals(dense.module, before), _totals(model, after)
        goal = self._goal(*totals, choice)
        notes = list(choice.notes)
        if before.counter == "fvcore" and space.macs.value(space.sizes) != before.total:
            notes.append(
                f"the cost formula gives {space.macs.value(space.sizes)} MACs, fvcore {before.total}"
            )
        notes += [
            f"operator {name} has no rule: what it touches is left whole" for name in space.unknown_operators
        ]
        return Report(
            version=__version__,
            command=(),
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            target=goal,
            before=totals[0],
            after=totals[1],
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
        )

    def _goal(self, before: Totals, after: Totals, choice: Choice) -> Goal:
        """What was reached, by the reported counter. Raises ``ImpossibleError`` if that is short of the
        target.
        """
        if self.asked is None:
            return Goal("plan", None, before.macs / max(1, after.macs), self.tolerance, True)
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


def _traced(dense: Dense) -> Space:
    try:
        return trace(dense.module, input_room.make(dense.specs))
    except FORWARD_ERRORS as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        shapes = ", ".join("x".join(map(str, spec.shape)) for spec in dense.specs)
        raise InputError(
            f"the network does not run on an input of {shapes}: {first:.200}", "give another --input"
        ) from error


def _counted(module: nn.Module, tensors: Mapping[str, Tensor], dense: Dense) -> Count:
    values = tuple(x.float() if x.is_floating_point() else x for x in input_room.make(dense.specs))
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors.values()):
        floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        module = put(_copy(module), floats).eval()
    return count(module, values)


def _totals(module: nn.Module, counted: Count) -> Totals:
    params, size = sizes_of(module, module.state_dict())
    return Totals(params, counted.total, size)


def _require_proved(proofs: Sequence[Proof]) -> None:
    failed = next((proof for proof in proofs if not proof.passed), None)
    if failed is not None:
        raise ImpossibleError(
            f"{failed.name} failed: {failed.detail}", "nothing was written; please report this"
        )


def inspect(
    model_or_path: nn.Module | str | Path,
    *,
    example_inputs: Any = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
) -> Inspection:
    """Layers, coupled groups and totals of a checkpoint or a module. Raises ``UsageError`` and
    ``InputError``.
    """
    clock = _Clock(None)
    with clock.stage("read"):
        dense = open_dense(model_or_path, example_inputs, arch, arch_args, inputs)
    with evaluating(dense.module):
        with clock.stage("trace"):
            space = _traced(dense)
        with clock.stage("count"):
            counted = _counted(dense.module, dense.tensors, dense)
        return Inspection(
            version=__version__,
            checkpoint=dense.source,
            network=dense.facts,
            inputs=dense.report_inputs,
            totals=_totals(dense.module, counted),
            counter=counted.counter,
            unsupported=counted.unsupported,
            layers=layer_rows(dense.module, None, counted.by_module, counted.by_module),
            groups=group_rows(space, None),
            pinned=pinned_rows(space),
            timings=clock.seconds,
            notes=tuple(
                f"operator {name} has no rule: what it touches is left whole"
                for name in space.unknown_operators
            ),
        )


def verify(path: str | Path, *, against: str | Path | None = None, arch: str | None = None) -> Verification:
    """Check a written file: digests, reload in a fresh process, and with ``against`` the cut itself.

    ``against`` (the dense checkpoint) is cut again by the recorded plan; the masked oracle is taken on that
    cut, and the file must equal it unless the recipe names what changed its weights since. A failed proof is
    in the result, not raised; raises ``UsageError`` and ``InputError`` for files that cannot be read as what
    they should be.
    """
    clock = _Clock(None)
    with clock.stage("digests"):
        checkpoint = read(path)
        recipe = checkpoint.recipe
        if recipe is None:
            raise InputError(f"'{path}' has no recipe: it was not written by prune run")
        proofs = [_digest_proof(checkpoint.tensors, recipe)]
    with clock.stage("reload"):
        proofs.append(reload_proof(Path(path), recipe.inputs, None, arch))
    source = None
    if against is not None:
        with clock.stage("cut again"):
            source, more = _verify_cut(checkpoint.tensors, recipe, against, arch)
            proofs += more
    return Verification(
        version=__version__,
        output=Output(Path(path).name, checkpoint.digest, Path(path).stat().st_size),
        network=NetworkFacts(recipe.arch, dict(recipe.arguments)),
        proofs=tuple(proofs),
        against=source,
        changed_by=recipe.changed_by,
        timings=clock.seconds,
    )


def _digest_proof(tensors: Mapping[str, Tensor], recipe: Recipe) -> Proof:
    try:
        verify_digests(tensors, recipe)
    except ImpossibleError as error:
        return Proof("digests", False, detail=error.message)
    return Proof("digests", True, detail=f"{len(tensors)} tensors as recorded")


def _verify_cut(
    tensors: Mapping[str, Tensor], recipe: Recipe, against: str | Path, arch: str | None
) -> tuple[Source, list[Proof]]:
    dense_file = read(against)
    network = resolve(
        dense_file.tensors, arch=arch or recipe.arch, arguments=recipe.arguments, inputs=recipe.inputs
    )
    facts = NetworkFacts(network.spec, dict(network.arguments))
    dense = Dense(network.module, recipe.inputs, recipe.arch, recipe.arguments, arch, None, facts)
    source = Source(Path(against).name, dense_file.digest, dense_file.layout, dense_file.dropped)
    same = dense_file.digest == recipe.source_digest
    detail = "the file it was cut from" if same else "another file than the one it was cut from"
    proofs = [Proof("source digest", same, detail=detail)]
    space = _traced(dense)
    choice = _planned(space, dense.tensors, recipe.plan)
    choices = dict.fromkeys(
        (input_room.smaller(dense.specs, space.macs.value(space.sizes)), tuple(dense.specs))
    )
    subject = Subject.open(dense.module, dense.tensors, space, [input_room.make(s) for s in choices])
    proofs += subject.prove(recipe.plan.keep)
    proofs.append(_equality_proof(subject, choice, tensors, recipe))
    return source, proofs


def _equality_proof(subject: Subject, choice: Choice, tensors: Mapping[str, Tensor], recipe: Recipe) -> Proof:
    """The file's tensors are those of the cut, or the recipe says what changed them."""
    name = "equals the cut"
    differing = [key for key, tensor in tensors.items() if not _same(tensor, choice.tensors.get(key))]
    if not differing:
        return Proof(name, True, 0.0, 0.0, f"all {len(tensors)} tensors, bit for bit")
    if not recipe.changed_by:
        return Proof(name, False, detail=f"tensor '{differing[0]}' is not that of the cut")
    wanted = subject.output({})
    full = {**choice.tensors, **tensors}
    found = run(resized(subject.module, subject.space, full, recipe.plan.keep).eval(), full, subject.inputs)
    error = relative_error(wanted, found)
    return Proof(
        name, True, error, None, f"changed since by {', '.join(recipe.changed_by)}; output error {error:.3g}"
    )


def _same(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and tensor.dtype == other.dtype and torch.equal(tensor, other)

"""``prune verify``: the proofs, taken again on a written file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from prunecli import __version__
from prunecli import inputs as input_room
from prunecli.checkpoint.digests import tensor_digest
from prunecli.checkpoint.locating import bytes_of, weights_in
from prunecli.checkpoint.reading import Checkpoint, read
from prunecli.checkpoint.recipe import Recipe
from prunecli.checkpoint.writing import is_as_written
from prunecli.clock import Clock
from prunecli.errors import ImpossibleError, InputError, first_line
from prunecli.fresh import RELOAD_HERE, reload_proof
from prunecli.loading import dense_of, load, require_registry, verify_digests
from prunecli.measuring import traced
from prunecli.proofs import FORWARD_ERRORS, Subject, pruned, relative_error, run
from prunecli.pruning import freed_by, planned
from prunecli.report.model import NetworkFacts, Output, Proof, Source, Verification
from prunecli.selection import Choice
from prunecli.subjects import MODULE, Dense
from prunecli.unsafe import opened


def verify(
    path: str | Path,
    *,
    against: str | Path | None = None,
    arch: str | None = None,
    factory: Callable[..., nn.Module] | None = None,
    unsafe_load: bool = False,
) -> Verification:
    """Check a written file: digests, reload in a fresh process, and with ``against`` the cut itself.

    ``against`` (the dense checkpoint) is cut again by the recorded plan; the masked oracle is taken on that
    cut, and the file must equal it unless the recipe names what changed its weights since. A failed proof is
    in the result, not raised; raises ``UsageError`` and ``InputError`` for files that cannot be read as what
    they should be.
    """
    clock = Clock()
    with clock.stage("digests"):
        checkpoint = read(path)
        recipe = checkpoint.recipe
        if recipe is None:
            raise InputError(
                f"'{path}' has no recipe: it was not written by prune run",
                "name the pruned file; --against takes CKPT",
            )
        if factory is None and arch is None and recipe.arch != MODULE:
            require_registry(recipe)
        proofs = [_digest_proof(checkpoint.tensors, recipe), _whole_proof(checkpoint, recipe)]
    with clock.stage("reload"):
        proofs.append(
            _reload_here(path, recipe, factory)
            if factory is not None or recipe.arch == MODULE
            else reload_proof(Path(path), recipe.inputs, None, arch)
        )
    source, notes = None, tuple[str, ...]()
    if against is not None:
        with clock.stage("cut again"):
            found = opened(against, unsafe_load)
            source, more = _verify_cut(checkpoint.tensors, recipe, found.checkpoint, arch)
            proofs += more
            notes = found.notes
    return Verification(
        version=__version__,
        output=Output(Path(path).name, checkpoint.digest, bytes_of(Path(path))),
        network=NetworkFacts(recipe.arch, dict(recipe.arguments)),
        proofs=tuple(proofs),
        against=source,
        changed_by=recipe.changed_by,
        timings=clock.seconds,
        notes=notes,
    )


def _reload_here(path: str | Path, recipe: Recipe, factory: Callable[..., nn.Module] | None) -> Proof:
    """A file made from a module: no other process can build that, so it is loaded and run in this one."""
    if factory is None:
        raise InputError(
            f"'{Path(path).name}' was made from a module, which its recipe cannot build",
            "verify(path, factory=f) with f() giving the dense module",
        )
    try:
        outputs = run(load(path, factory=factory), input_room.make(recipe.inputs))
    except (ImpossibleError, *FORWARD_ERRORS) as error:
        return Proof(RELOAD_HERE, False, detail=first_line(error))
    finite = all(bool(tensor.isfinite().all()) for tensor in outputs if tensor.is_floating_point())
    return Proof(
        RELOAD_HERE, finite, detail="it runs and its outputs are finite" if finite else "outputs not finite"
    )


def _digest_proof(tensors: Mapping[str, Tensor], recipe: Recipe) -> Proof:
    try:
        verify_digests(tensors, recipe)
    except ImpossibleError as error:
        return Proof("digests", False, detail=error.message)
    return Proof("digests", True, detail=f"{len(tensors)} tensors as recorded")


def _whole_proof(checkpoint: Checkpoint, recipe: Recipe) -> Proof:
    """With the digests of the tensors, that no bit of the file is another than the one that was written."""
    path = weights_in(checkpoint.path) if checkpoint.path.is_dir() else checkpoint.path
    if is_as_written(path, checkpoint.tensors, recipe):
        return Proof("whole file", True, detail="the header too is byte for byte as prune writes it")
    return Proof("whole file", False, detail="its header is not byte for byte as prune writes it")


def _verify_cut(
    tensors: Mapping[str, Tensor], recipe: Recipe, dense_file: Checkpoint, arch: str | None
) -> tuple[Source, list[Proof]]:
    network = dense_of(recipe, dense_file, arch)
    facts = NetworkFacts(recipe.arch, dict(network.arguments))
    dense = Dense(network.module, recipe.inputs, recipe.arch, recipe.arguments, arch, None, facts)
    source = Source(dense_file.path.name, dense_file.digest, dense_file.layout, dense_file.dropped)
    same = dense_file.digest == recipe.source_digest
    detail = "the file it was cut from" if same else "another file than the one it was cut from"
    proofs = [Proof("source digest", same, detail=detail)]
    space = traced(dense, freed_by(recipe.plan))
    choice = planned(space, dense.tensors, recipe.plan)
    choices = dict.fromkeys(
        (input_room.smaller(dense.specs, space.macs.value(space.sizes)), tuple(dense.specs))
    )
    subject = Subject.open(dense.module, dense.tensors, space, [input_room.make(s) for s in choices])
    proofs += subject.prove(recipe.plan.keep)
    proofs.append(_equality_proof(subject, choice, tensors, recipe))
    return source, proofs


def _equality_proof(subject: Subject, choice: Choice, tensors: Mapping[str, Tensor], recipe: Recipe) -> Proof:
    """The file's tensors are those of the cut, or the recipe says what changed them and this is that cut."""
    name = "equals the cut"
    differing = [key for key, tensor in tensors.items() if not _same(tensor, choice.tensors.get(key))]
    if not differing:
        return Proof(name, True, 0.0, 0.0, f"all {len(tensors)} tensors, bit for bit")
    if not recipe.changed_by:
        return Proof(name, False, detail=f"tensor '{differing[0]}' is not that of the cut")
    since = ", ".join(recipe.changed_by)
    other = [key for key in tensors if not _as_cut(choice.tensors.get(key), recipe.cut_digests.get(key))]
    if other:
        return Proof(name, False, detail=f"tensor '{other[0]}' is not that of the cut before {since}")
    wanted = subject.output({})
    full = {**choice.tensors, **tensors}
    found = run(pruned(subject.module, subject.space, full, recipe.plan.keep), subject.inputs)
    error = relative_error(wanted, found)
    return Proof(name, True, error, None, f"changed since by {since}; output error {error:.3g}")


def _as_cut(tensor: Tensor | None, digest: str | None) -> bool:
    return tensor is not None and tensor_digest(tensor) == digest


def _same(tensor: Tensor, other: Tensor | None) -> bool:
    return other is not None and tensor.dtype == other.dtype and torch.equal(tensor, other)

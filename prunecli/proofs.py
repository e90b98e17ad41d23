"""The proofs: a pruned network is what the dense one would be with the removed units silenced.

The **masked oracle**: in the dense network every parameter slice of a removed unit is set to zero, in
float64; the pruned network must give the same output. It cannot be asked of groups whose removal
legitimately changes the rest (``value_changing``); those are left whole for the oracle, and the finished
network is run besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, rebuilt
from prunecli.checkpoint.recipe import AttributePatch
from prunecli.coupling.axes import owners
from prunecli.coupling.recording import outputs_in
from prunecli.coupling.space import Bundle, Space
from prunecli.errors import InputError, first_line
from prunecli.inputs import Inputs
from prunecli.loading import apply_patches
from prunecli.report.model import Proof
from prunecli.surgery import cut

ORACLE = "masked oracle"
FORWARD = "forward"
TOLERANCE = 1e-4
"""Largest relative error of the oracle; float64 arithmetic itself is about 1e-12 off."""

Keep = Mapping[str, Sequence[int]]

# What a forward over wrong sizes raises; anything else is a defect of ours and must be seen.
FORWARD_ERRORS = (RuntimeError, ValueError, AssertionError, IndexError, TypeError, InputError)


def masked(tensors: Mapping[str, Tensor], space: Space, keep: Keep) -> dict[str, Tensor]:
    """``tensors`` with every parameter slice of a removed unit set to zero, in all slots of its group."""
    result = dict(tensors)
    aliases: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        aliases.setdefault(_place(tensor), []).append(name)
    for group in space.groups:
        if group.name not in keep or len(keep[group.name]) == group.size:
            continue
        gone = torch.ones(group.size, dtype=torch.bool)
        gone[list(keep[group.name])] = False
        for slot in group.slots:
            owner = owners(space.axes[slot.parameter][slot.dim], space.sizes, group.name)
            index = ((owner >= 0) & gone[owner.clamp(min=0)]).nonzero().flatten()
            tensor = result[slot.parameter]
            silenced = tensor.index_fill(slot.dim, index.to(tensor.device), 0.0)
            result.update(dict.fromkeys(aliases[_place(tensors[slot.parameter])], silenced))
    return result


def _place(tensor: Tensor) -> object:
    """Equal for the names of one shared parameter."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def patches_for(space: Space, sizes: Mapping[str, int]) -> tuple[AttributePatch, ...]:
    """The attribute values that follow from ``sizes``, where they differ from the present ones."""
    full = {**space.sizes, **sizes}
    return tuple(
        AttributePatch(patch.module, patch.attribute, patch.index, value)
        for patch in space.patches
        if (value := patch.value.value(full)) != patch.value.value(space.sizes)
    )


def pruned(module: nn.Module, space: Space, tensors: Mapping[str, Tensor], keep: Keep) -> nn.Module:
    """``module`` around the cut ``tensors``, in eval mode, with the attributes that their sizes need."""
    sizes = {name: len(kept) for name, kept in keep.items()}
    return apply_patches(rebuilt(module, tensors), patches_for(space, sizes)).eval()


def run(
    module: nn.Module, inputs: Inputs | Sequence[Any], dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """All output tensors of ``module`` on ``inputs``, everything floating in ``dtype``. The module is not
    touched.
    """
    with torch.no_grad():
        return outputs_in(Inputs.of(inputs).cast(dtype).run(_cast(module, dtype)))


def run_inside(
    module: nn.Module, inputs: Inputs | Sequence[Any], dtype: torch.dtype = torch.float32
) -> list[tuple[str, Tensor]]:
    """The outputs of all layers (modules with parameters and no children) by name, as they are reached."""
    found: list[tuple[str, Tensor]] = []
    copy = _cast(module, dtype)

    def watch(name: str, layer: nn.Module) -> None:
        def keep(_: nn.Module, args: Any, output: Any) -> None:
            # In-place operators may change what a layer returned.
            found.extend((name, tensor.clone()) for tensor in outputs_in(output))

        layer.register_forward_hook(keep)

    for name, layer in copy.named_modules():
        if not any(True for _ in layer.children()) and any(True for _ in layer.parameters()):
            watch(name, layer)
    with torch.no_grad():
        Inputs.of(inputs).cast(dtype).run(copy)
    return found


def evidence(module: nn.Module, inputs: Inputs | Sequence[Any]) -> list[Tensor]:
    """What tells one network from another: its outputs, or those of its layers where the outputs are empty
    (a detector that finds nothing in noise).
    """
    outputs = run(module, inputs)
    if any(tensor.numel() for tensor in outputs):
        return outputs
    return [tensor for _, tensor in run_inside(module, inputs)]


def _cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return rebuilt(
        module,
        {
            name: tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
            for name, tensor in all_tensors(module).items()
        },
    )


def relative_error(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> float:
    """Largest difference over all outputs, relative to the largest finite value of each.

    Equal infinities and NaNs are equal; inf if shapes differ, if one is finite where the other is not, or if
    there is nothing to compare.
    """
    if not wanted or [t.shape for t in wanted] != [t.shape for t in found]:
        return float("inf")
    return max(_relative_error(a.double(), b.double()) for a, b in zip(wanted, found, strict=True))


def _relative_error(wanted: Tensor, found: Tensor) -> float:
    same = (wanted == found) | (wanted.isnan() & found.isnan())
    if bool(same.all()):
        return 0.0
    difference = (wanted - found).abs()[~same]
    if not bool(difference.isfinite().all()):
        return float("inf")
    finite = wanted[wanted.isfinite()].abs()
    return float(difference.max()) / max(float(finite.max()) if finite.numel() else 0.0, 1e-30)


@dataclass(frozen=True)
class Subject:
    """What is proved: a dense network in eval mode, its tensors, its space, and inputs to run it on."""

    module: nn.Module
    tensors: Mapping[str, Tensor]
    space: Space
    inputs: Inputs | Sequence[Any]
    dtype: torch.dtype

    @staticmethod
    def open(
        module: nn.Module,
        tensors: Mapping[str, Tensor],
        space: Space,
        choices: Sequence[Inputs | Sequence[Any]],
    ) -> Subject:
        """The first of ``choices`` (inputs) that the dense network accepts, in float64 if it can run in that.

        Raises ``InputError`` if it accepts none.
        """
        problem = ""
        for inputs in choices:
            for dtype in (torch.float64, torch.float32):
                subject = Subject(module, tensors, space, inputs, dtype)
                try:
                    first, second = subject.output({}), subject.output({})
                except FORWARD_ERRORS as raised:
                    problem = first_line(raised)
                    continue
                if relative_error(first, second) > TOLERANCE:
                    raise InputError(
                        "the network gives another output each time on the same input, in eval mode",
                        "let dropout and noise depend on self.training",
                    )
                return subject
        raise InputError(f"the network does not run on its input: {problem}", "give another --input")

    def keeps_values(self, keep: Keep) -> dict[str, Sequence[int]]:
        """The part of ``keep`` of which equality can be asked, whole bundles only."""
        changing = {group.name for group in self.space.groups if group.value_changing is not None}
        tied = {
            member.group
            for bundle in self.space.bundles
            if any(m.group in changing for m in bundle.members)
            for member in bundle.members
        }
        return {name: kept for name, kept in keep.items() if name not in changing | tied}

    def error(self, keep: Keep) -> float:
        """The oracle's relative error for ``keep``. Raises what forward raises."""
        silenced = rebuilt(self.module, masked(self.tensors, self.space, keep)).eval()
        return relative_error(run(silenced, self.inputs, self.dtype), self.output(keep))

    def output(self, keep: Keep) -> list[Tensor]:
        """Outputs of the network cut to ``keep``. Raises what forward raises."""
        tensors = cut(self.tensors, self.space, keep)
        return run(pruned(self.module, self.space, tensors, keep), self.inputs, self.dtype)

    def prove(self, keep: Keep) -> list[Proof]:
        """The masked oracle where it applies, and one run of the finished network."""
        exact = self.keeps_values(keep)
        left_out = len(set(keep) - set(exact))
        proofs = []
        if exact:
            detail = (
                f"{left_out} value-changing groups left whole for it" if left_out else "all pruned groups"
            )
            proof = _measured(ORACLE, lambda: self.error(exact), detail)
            if proof.error == 0.0 and not self._shows(exact):
                proof = self._prove_inside(exact, detail, "the outputs show nothing")
            elif proof.error is not None and not proof.passed and self._chooses():
                proof = self._prove_inside(
                    exact, detail, "the outputs were chosen by value, which ties upset"
                )
            proofs.append(proof)
        if left_out or not exact:
            proofs.append(
                _measured(FORWARD, lambda: self._shape_error(keep), "same output shapes, all finite")
            )
        return proofs

    def _shows(self, keep: Keep) -> bool:
        """Whether silencing the removed units changes the dense network's output at all."""
        silenced = rebuilt(self.module, masked(self.tensors, self.space, keep)).eval()
        return relative_error(self.output({}), run(silenced, self.inputs, self.dtype)) > 0

    def _chooses(self) -> bool:
        """Whether the network chooses by value (a detector): then it says which with integers."""
        return any(not tensor.is_floating_point() for tensor in self.output({}))

    def _prove_inside(self, keep: Keep, detail: str, why: str) -> Proof:
        """The oracle on the layers whose outputs are not cut, where those of the network cannot be asked."""
        silenced = rebuilt(self.module, masked(self.tensors, self.space, keep)).eval()
        small = pruned(self.module, self.space, cut(self.tensors, self.space, keep), keep)
        dense, silent, found = (
            run_inside(module, self.inputs, self.dtype) for module in (self.module, silenced, small)
        )
        if not [name for name, _ in dense] == [name for name, _ in silent] == [name for name, _ in found]:
            return Proof(ORACLE, False, None, TOLERANCE, "the layers run in another order")
        whole = [i for i, (_, tensor) in enumerate(found) if tensor.shape == dense[i][1].shape]
        before, wanted, got = ([layers[i][1] for i in whole] for layers in (dense, silent, found))
        if not whole or relative_error(before, wanted) == 0:
            return Proof(
                ORACLE, True, 0.0, TOLERANCE, f"{detail}; but no output depends on the removed units"
            )
        where = f"{detail}; on {len(whole)} layers, since {why}"
        return _measured(ORACLE, lambda: relative_error(wanted, got), where)

    def _shape_error(self, keep: Keep) -> float:
        dense, pruned = self.output({}), self.output(keep)
        # A detector may find more or fewer.
        first = 1 if self._chooses() else 0
        same = [(t.dtype, t.shape[first:]) for t in dense] == [(t.dtype, t.shape[first:]) for t in pruned]
        finite = all(bool(t.isfinite().all()) for t in pruned if t.is_floating_point())
        return 0.0 if same and finite else float("inf")

    def culprits(self, keep: Keep) -> dict[str, str]:
        """The groups that make a proof fail, each with the reason; found by halving."""
        bundles = [b for b in self.space.bundles if any(member.group in keep for member in b.members)]
        found: dict[str, str] = {}
        for bundle in self._failing(bundles, keep):
            parts = _part(keep, [bundle])
            failed = next((p for p in self.prove(parts) if not p.passed), None)
            why = "only together with others" if failed is None else failed.detail
            found.update(dict.fromkeys(parts, f"cutting it failed the proof: {why}"))
        return found

    def _failing(self, bundles: list[Bundle], keep: Keep) -> list[Bundle]:
        if all(proof.passed for proof in self.prove(_part(keep, bundles))):
            return []
        if len(bundles) == 1:
            return bundles
        half = len(bundles) // 2
        found = self._failing(bundles[:half], keep) + self._failing(bundles[half:], keep)
        return found or bundles[half:]


def _part(keep: Keep, bundles: Sequence[Bundle]) -> dict[str, Sequence[int]]:
    names = {member.group for bundle in bundles for member in bundle.members}
    return {name: kept for name, kept in keep.items() if name in names}


def _measured(name: str, measure: Callable[[], float], detail: str) -> Proof:
    try:
        error = measure()
    except FORWARD_ERRORS as raised:
        return Proof(name, False, None, TOLERANCE, f"forward raised: {first_line(raised)}")
    passed = error <= TOLERANCE
    return Proof(name, passed, error, TOLERANCE, detail if passed else f"relative error {error:.3g}")

"""Two networks, tensor by tensor: whether one is a cut of the other, and how far weights have moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, sqrt

import torch
from torch import Tensor, nn

from prunecli.assembly import all_tensors, evaluating
from prunecli.checkpoint.recipe import Recipe
from prunecli.errors import PruneError
from prunecli.measuring import traced
from prunecli.opening import Subject
from prunecli.plan import Plan
from prunecli.pruning import freed_by, planned
from prunecli.report.differences import GroupDifference, Relation, Side, TensorCounts
from prunecli.report.relations import different
from prunecli.report.text import plural


@dataclass(frozen=True)
class Compared:
    """``changes``: the distance of each layer's tensors, by its name, where both have them."""

    relation: Relation
    verdict: str
    changes: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[GroupDifference, ...] = ()
    tensors: TensorCounts | None = None
    notes: tuple[str, ...] = ()


def compared(one: Subject, other: Subject, a: Side, b: Side) -> Compared:
    """Of two checkpoints. Nothing that a recipe claims is believed but what its digests prove."""
    first, second = one.network.module.state_dict(), other.network.module.state_dict()
    if not same_layers(first, second):
        return Compared("different", different(a, b, len(first.keys() & second.keys())))
    for small, large, is_b in ((other, one, True), (one, other, False)):
        recipe = small.recipe
        if recipe is not None and recipe.plan.keep and recipe.source_digest == _digest(large):
            return _cut(large, small, recipe, b if is_b else a, a if is_b else b, is_b)
    tensors, changes = _distances(one.network.module, other.network.module, first, second)
    groups = _groups(one.recipe, other.recipe)
    if tensors.resized:
        said = f"{plural(tensors.resized, 'tensor')} of {len(first)} in another shape"
        if groups:
            return Compared("resized", f"two cuts of the same checkpoint: {said}", changes, groups, tensors)
        return Compared("resized", f"the same layers in other widths: {said}", changes, (), tensors)
    if tensors.equal == len(first):
        said = f"the same weights: all {len(first)} tensors are equal, bit by bit"
        return Compared("identical", said, changes, groups, tensors)
    said = f"the same network with other weights in {tensors.changed} of {plural(len(first), 'tensor')}"
    return Compared("changed", said + _made_of(one, other), changes, groups, tensors)


def _made_of(one: Subject, other: Subject) -> str:
    recipe = other.recipe
    if recipe is None or recipe.plan.keep or not recipe.changed_by or recipe.source_digest != _digest(one):
        return ""
    return f"; the second was made from the first by {', '.join(recipe.changed_by)}"


def _cut(
    dense: Subject, small: Subject, recipe: Recipe, cut_side: Side, dense_side: Side, forward: bool
) -> Compared:
    """``small``, whose recipe names the digest of ``dense``, beside the same cut made again."""
    first, second = dense_side.name, cut_side.name
    said = f"{second} was cut from {first} (the digest in its recipe is that of {first})"
    groups = tuple(
        GroupDifference(name, size, *((size, len(kept)) if forward else (len(kept), size)), shared=len(kept))
        for name, kept in sorted(recipe.plan.keep.items())
        for size in (recipe.plan.dense[name],)
    )
    network = dense.network
    try:
        with evaluating(network.module):
            space = traced(network, freed_by(recipe.plan))
        kept_of_dense = planned(space, network.tensors, recipe.plan).tensors
    except PruneError as error:
        note = f"the cut could not be made again to compare weights: {error.message}"
        return Compared("cut", said, groups=groups, notes=(note,))
    there = small.network.module.state_dict()
    left = {name: kept_of_dense[name] for name in there if name in kept_of_dense}
    tensors, changes = _distances(network.module, small.network.module, left, there, kept_of_dense)
    if tensors.equal == len(there):
        said += "; what is left has the same weights, bit by bit"
    else:
        by = f" ({', '.join(recipe.changed_by)})" if recipe.changed_by else ""
        said += f"; since then {tensors.changed} of {plural(len(there), 'tensor')} changed{by}"
    return Compared("cut", said, changes, groups, tensors)


def same_layers(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two state_dicts are of one network, whatever its widths."""
    return one.keys() == other.keys() and all(one[n].dim() == other[n].dim() for n in one)


def _digest(subject: Subject) -> str | None:
    return None if subject.network.source is None else subject.network.source.digest


def _groups(one: Recipe | None, other: Recipe | None) -> tuple[GroupDifference, ...]:
    """Of two cuts of the same file; none otherwise."""
    if one is None or other is None or not one.source_digest or one.source_digest != other.source_digest:
        return ()
    return tuple(_group(name, one.plan, other.plan) for name in sorted({*one.plan.keep, *other.plan.keep}))


def _group(name: str, one: Plan, other: Plan) -> GroupDifference:
    size = one.dense.get(name, other.dense.get(name, 0))
    first, second = (set(plan.keep.get(name, range(size))) for plan in (one, other))
    return GroupDifference(name, size, len(first), len(second), len(first & second))


def _distances(
    one: nn.Module,
    other: nn.Module,
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    in_place_of_one: Mapping[str, Tensor] | None = None,
) -> tuple[TensorCounts, dict[str, float]]:
    """Of the tensors of two state_dicts, and of each layer's own tensors."""
    before = in_place_of_one or all_tensors(one)
    changes = {}
    for name, module in other.named_modules():
        own = {
            f"{name}.{leaf}".lstrip("."): tensor
            for leaf, tensor in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            )
        }
        change = distance({key: before[key] for key in own if key in before}, own)
        if change is not None:
            changes[name] = change
    return counts_of(first, second), changes


def counts_of(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> TensorCounts:
    """Of two state_dicts."""
    equal = sum(_equal(first[n], second[n]) for n in first.keys() & second.keys())
    resized = sum(first[n].shape != second[n].shape for n in first.keys() & second.keys())
    both = len(first.keys() & second.keys())
    return TensorCounts(equal, both - equal - resized, resized, len(first) - both, len(second) - both)


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float | None:
    """How far the tensors of a layer have moved; None where not all of them can be compared."""
    if any(name not in one or one[name].shape != tensor.shape for name, tensor in other.items()):
        return None
    pairs = [(one[n].detach(), tensor.detach()) for n, tensor in other.items() if tensor.is_floating_point()]
    return _relative(pairs) if pairs else None


def _relative(pairs: list[tuple[Tensor, Tensor]]) -> float:
    difference = sum(float((y.double() - x.double()).square().sum()) for x, y in pairs)
    size = sum(float(x.double().square().sum()) for x, _ in pairs)
    if difference == 0:
        return 0.0
    return sqrt(difference / size) if size else inf


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)

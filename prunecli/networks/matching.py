"""Do these tensors belong to this network, and under which names?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunecli.checkpoint.specs import Scalar
from prunecli.errors import InputError
from prunecli.networks.catalogue import COUNTERS

Shape = tuple[int, ...]
# Counters that profilers leave behind in the modules they measure.
_LEFTOVERS = ("total_ops", "total_params")
# Names of one tensor of a layer that every library shares; matching by order must not mix them up.
_LEAVES = frozenset(("weight", "bias", "running_mean", "running_var"))


@dataclass(frozen=True)
class Match:
    """``tensors`` under the network's own names, complete; ``notes`` say what was done to get there."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def match(tensors: Mapping[str, Tensor], module: nn.Module, spec: str) -> Match:
    """Raises ``InputError`` in one line when the tensors are not those of ``module``."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shared = shared_names(module)
    given = under_all_names(_without_leftovers(tensors, module, wanted), shared)
    notes: tuple[str, ...] = ()
    if not _same_names(given, wanted):
        prefixed = _with_common_prefix(given, wanted, shared)
        ordered = None if prefixed is not None else _by_order(given, wanted)
        if prefixed is None and ordered is None:
            raise _names_differ(given, wanted, spec)
        if ordered is not None:
            notes = (f"names differ from {spec}; matched by order, where all {len(ordered)} shapes agree",)
        given = prefixed or ordered or {}
    wrong = [name for name in wanted if name in given and tuple(given[name].shape) != wanted[name]]
    if wrong:
        raise _shapes_differ(given, wanted, wrong, spec)
    _require_kinds(given, module, spec)
    complete = {name: given.get(name, torch.zeros((), dtype=torch.int64)) for name in wanted}
    return Match(complete, notes)


def mismatches(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, tuple[Shape, Shape]] | None:
    """Shapes in the file and in the network where they differ, by name; None if the names differ."""
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shared = shared_names(module)
    given = under_all_names(_without_leftovers(tensors, module, wanted), shared)
    if not _same_names(given, wanted):
        given = _with_common_prefix(given, wanted, shared) or {}
    if not given:
        return None
    return {
        name: (tuple(given[name].shape), shape)
        for name, shape in wanted.items()
        if name in given and tuple(given[name].shape) != shape
    }


def resized_arguments(
    differing: Mapping[str, tuple[Shape, Shape]],
    classes: int,
    classes_argument: str,
    channels_argument: str | None,
) -> dict[str, Scalar] | None:
    """Arguments that explain every differing shape: another number of classes, of input channels, or both.

    ``classes`` is the number of classes that the network was built with; a head may have several outputs for
    each (boxes, anchors). None if they explain it not.
    """
    outputs: set[int] = set()
    channels: set[int] = set()
    for found, expected in differing.values():
        if len(found) != len(expected):
            return None
        changed = [dim for dim in range(len(found)) if found[dim] != expected[dim]]
        if changed == [0] and classes and not expected[0] % classes:
            wanted, rest = divmod(found[0], expected[0] // classes)
            outputs.add(0 if rest else wanted)
        elif changed == [1] and expected[1] == 3 and len(found) == 4:
            channels.add(found[1])
        else:
            return None
    if len(outputs) > 1 or 0 in outputs or len(channels) > 1 or (channels and channels_argument is None):
        return None
    found_arguments: dict[str, Scalar] = {}
    if outputs:
        found_arguments[classes_argument] = outputs.pop()
    if channels and channels_argument:
        found_arguments[channels_argument] = channels.pop()
    return found_arguments


def _counters_aside(names: Mapping[str, object]) -> list[str]:
    return [name for name in names if not name.endswith(COUNTERS)]


def _same_names(given: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    return set(_counters_aside(given)) == set(_counters_aside(wanted)) and given.keys() <= wanted.keys()


def _without_leftovers(
    tensors: Mapping[str, Tensor], module: nn.Module, wanted: Mapping[str, Shape]
) -> dict[str, Tensor]:
    """Drop counters of profilers, and buffers that older versions of a network used to save."""
    computed = {name for name, _ in module.named_buffers()} - wanted.keys()
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in wanted or not (name in computed or name.rpartition(".")[2] in _LEFTOVERS)
    }


def shared_names(module: nn.Module) -> list[list[str]]:
    """The names of every parameter that has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return [several for several in names.values() if len(several) > 1]


def under_all_names(given: Mapping[str, Tensor], shared: Iterable[Sequence[str]]) -> dict[str, Tensor]:
    """Files often hold a shared parameter once (an embedding that is also the head)."""
    complete = dict(given)
    for names in shared:
        found = next((given[name] for name in names if name in given), None)
        if found is not None:
            complete = {**dict.fromkeys(names, found), **complete}
    return complete


def _with_common_prefix(
    given: Mapping[str, Tensor], wanted: Mapping[str, Shape], shared: Iterable[Sequence[str]]
) -> dict[str, Tensor] | None:
    """Put back a prefix that reading took for a wrapper's, where the network's own names (those aside that
    share a tensor with one of these) all begin with it.
    """
    first = next(iter(wanted), "").partition(".")[0] + "."
    renamed = under_all_names({first + name: tensor for name, tensor in given.items()}, shared)
    return renamed if _same_names(renamed, wanted) else None


def _by_order(given: Mapping[str, Tensor], wanted: Mapping[str, Shape]) -> dict[str, Tensor] | None:
    """Pair the tensors in order, if every shape (and the kind, where the names say it) agrees."""
    theirs, ours = _counters_aside(given), _counters_aside(wanted)
    if len(theirs) != len(ours) or not ours:
        return None
    for a, b in zip(theirs, ours, strict=True):
        leaves = {a.rpartition(".")[2], b.rpartition(".")[2]}
        if tuple(given[a].shape) != wanted[b] or (leaves <= _LEAVES and len(leaves) > 1):
            return None
    return {b: given[a] for a, b in zip(theirs, ours, strict=True)}


def _names_differ(given: Mapping[str, Tensor], wanted: Mapping[str, Shape], spec: str) -> InputError:
    missing = [name for name in _counters_aside(wanted) if name not in given]
    extra = [name for name in given if name not in wanted]
    facts = [
        f"{len(names)} {what} ({', '.join([repr(name) for name in names[:3]] + ['...'] * (len(names) > 3))})"
        for names, what in ((missing, "tensors missing"), (extra, "not in the network"))
        if names
    ]
    return InputError(f"the checkpoint is not a {spec}: {'; '.join(facts)}")


def _shapes_differ(
    given: Mapping[str, Tensor], wanted: Mapping[str, Shape], wrong: list[str], spec: str
) -> InputError:
    shown = "; ".join(
        f"'{name}' is {list(given[name].shape)} in the file, {list(wanted[name])} in the network"
        for name in wrong[:2]
    )
    rest = f" and {len(wrong) - 2} more" if len(wrong) > 2 else ""
    return InputError(f"the checkpoint does not fit {spec}: {shown}{rest}")


def _require_kinds(given: Mapping[str, Tensor], module: nn.Module, spec: str) -> None:
    for name, tensor in module.state_dict().items():
        if name not in given or name.endswith(COUNTERS):
            continue
        if given[name].is_floating_point() != tensor.is_floating_point():
            raise InputError(f"'{name}' is {given[name].dtype} in the file, {tensor.dtype} in {spec}")

"""Checkpoints of which the network is not known: what names, shapes and values of their tensors tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from prunecli.checkpoint.reading import Checkpoint
from prunecli.comparing import Compared, counts_of, distance, same_layers
from prunecli.errors import InputError
from prunecli.report.differences import LayerDifference, Side, Sizes
from prunecli.report.model import NetworkFacts
from prunecli.report.relations import different
from prunecli.report.text import plural

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of norms: no parameters, under the names that torch gives them."""


@dataclass(frozen=True)
class Unidentified:
    """``problem`` says why no network could be built."""

    checkpoint: Checkpoint
    problem: InputError


def side(found: Unidentified) -> Side:
    """Nothing can be run, so MACs are not known."""
    tensors = found.checkpoint.tensors
    hint = f" ({found.problem.hint})" if found.problem.hint else ""
    note = f"{found.problem.message}: compared by names and shapes alone{hint}"
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    return Side(
        found.checkpoint.path.name, "checkpoint", found.checkpoint.digest, NetworkFacts(None, notes=(note,)),
        (), Sizes(_params(tensors), None, size), "",
    )  # fmt: skip


def compared(first: Mapping[str, Tensor], second: Mapping[str, Tensor], a: Side, b: Side) -> Compared:
    """Of two files."""
    if not same_layers(first, second):
        return Compared("different", different(a, b, len(first.keys() & second.keys())))
    tensors, total = counts_of(first, second), plural(len(first), "tensor")
    if tensors.resized:
        said = f"tensors of the same names, {tensors.resized} of {total} in another shape"
        return Compared("resized", said, tensors=tensors)
    if tensors.equal == len(first):
        return Compared("identical", f"the same weights: all {total} are equal, bit by bit", tensors=tensors)
    said = f"the same names and shapes with other weights in {tensors.changed} of {total}"
    return Compared("changed", said, tensors=tensors)


def layers(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> tuple[LayerDifference, ...]:
    """A row for all tensors with the same name up to the last dot; no more is known of what they are."""
    one, other = _by_layer(first), _by_layer(second)
    return tuple(
        LayerDifference(
            name, "-", _shape(one.get(name, {})), _shape(other.get(name, {})), _params(one.get(name, {})),
            _params(other.get(name, {})), None, None, distance(one.get(name, {}), other.get(name, {})),
        )
        for name in one | other
    )  # fmt: skip


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        path, _, leaf = name.rpartition(".")
        found.setdefault(path, {})[leaf] = tensor
    return found


def _own(tensors: Mapping[str, Tensor]) -> Iterator[Tensor]:
    return (each for name, each in tensors.items() if name.rpartition(".")[2] not in _STATISTICS)


def _shape(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """That of the weight, or of the first."""
    found = tensors.get("weight", next(_own(tensors), None))
    return () if found is None else tuple(found.shape)


def _params(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in _own(tensors))

"""``FILE.py:function``: the user's own data, as an iterable of batches or of samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.data.arrays import INPUT_NAMES, LABEL_NAMES, checked_labels, fitting
from prunecli.data.samples import Batch
from prunecli.data.synthetic import batched
from prunecli.errors import InputError
from prunecli.inputs import assemble
from prunecli.networks.factories import Foreign, find_function
from prunecli.report.text import plural

_GIVES = "give tensors, (inputs, labels), or dicts by the names of the network's inputs"


def batches_of(
    path: str, function: str, specs: Sequence[InputSpec], samples: int | None, seed: int
) -> tuple[Batch, ...]:
    """The first ``samples`` that ``function()`` gives, in its own order, drawn with torch's generator seeded.

    Raises ``InputError`` for whatever the function raises and for what it should not give.
    """
    where = f"{Path(path).name}:{function}"
    make = find_function(Path(path), function, "--data")
    found: list[Batch] = []
    count = 0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for item in _items(make, where):
            batch = _batch(item, specs, where)
            batch = batch if batch.whole or samples is None else batch[: samples - count]
            found.append(batch)
            count += len(batch)
            if samples is not None and count >= samples:
                break
    if not count:
        raise InputError(f"{where} gave no samples", _GIVES)
    if len({batch.labels is None for batch in found}) > 1:
        raise InputError(f"{where} gave labels for some batches only", _GIVES)
    return tuple(found)


def _items(make: Any, where: str) -> Iterator[Any]:
    """What the function gives, with any error on the way told as its own."""
    with Foreign(where, "mend the function"):
        given = make()
        if isinstance(given, Tensor | Mapping):
            given = [given]
        iterator = _iterator(given)
    if iterator is None:
        raise InputError(f"{where} gave a {type(given).__name__}, not an iterable", _GIVES)
    nothing = object()
    while True:
        with Foreign(where, "mend the function"):
            item = next(iterator, nothing)
        if item is nothing:
            return
        yield item


def _iterator(given: Any) -> Iterator[Any] | None:
    if isinstance(given, Iterable):
        return iter(given)
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        # A torch Dataset of samples.
        return (given[index] for index in range(len(given)))
    return None


def _batch(item: Any, specs: Sequence[InputSpec], where: str) -> Batch:
    if not batched(specs):
        return Batch(assemble(specs, _by_input(item, specs, where)), None, True)
    inputs, labels = _parted(item, specs, where)
    tensors = _by_input(inputs, specs, where)
    if tensors[0].dim() == len(specs[0].shape) - 1:
        tensors = [tensor.unsqueeze(0) for tensor in tensors]
        labels = None if labels is None else labels.reshape(1)
    fit = [fitting(t, s, f"{s.name or 'input'} of {where}") for t, s in zip(tensors, specs, strict=True)]
    sizes = {len(tensor) for tensor in (*fit, *([] if labels is None else [labels]))}
    if len(sizes) > 1:
        raise InputError(f"{where} gave {' and '.join(map(str, sorted(sizes)))} samples in one batch", _GIVES)
    checked = None if labels is None else checked_labels(labels, f"labels of {where}")
    return Batch(assemble(specs, fit), checked)


def _parted(item: Any, specs: Sequence[InputSpec], where: str) -> tuple[Any, Tensor | None]:
    """Inputs and labels: a mapping has both by name, ``(inputs, labels)`` or ``(a, b, labels)`` in order."""
    if isinstance(item, Mapping):
        free = [name for name in LABEL_NAMES if name in item and all(name != s.name for s in specs)]
        return item, _labels(item[free[0]], where) if free else None
    if not isinstance(item, tuple | list) or len(item) < 2:
        return item, None
    if len(item) == 2 and (len(specs) == 1 or not isinstance(item[0], Tensor)):
        return item[0], _labels(item[1], where)
    if len(item) == len(specs) + 1:
        return item[:-1], _labels(item[-1], where)
    return item, None


def _labels(value: Any, where: str) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{where} gave labels of type {type(value).__name__}", _GIVES) from None


def _by_input(given: Any, specs: Sequence[InputSpec], where: str) -> list[Tensor]:
    """One tensor per input of the network."""
    values: list[Any]
    if isinstance(given, Mapping):
        values = [given.get(_key(given, spec, len(specs))) for spec in specs]
    elif isinstance(given, tuple | list):
        values = list(given)
    else:
        values = [given]
    if len(values) != len(specs) or not all(isinstance(value, Tensor) and value.dim() for value in values):
        kinds = ", ".join(type(value).__name__ for value in values)
        raise InputError(f"{where} gave {kinds} for {plural(len(specs), 'input')}", _GIVES)
    return values


def _key(given: Mapping[Any, Any], spec: InputSpec, number: int) -> Any:
    names = (spec.name, *(INPUT_NAMES if number == 1 else ()))
    return next((name for name in names if name in given), None)

"""``open_data``: from ``--data SPEC`` to samples that fit the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import arrays
from prunecli.data.pictures import Frame, Picture, samples_of
from prunecli.data.presets import PRESETS
from prunecli.data.samples import Batch, Samples
from prunecli.data.specs import FUNCTION, DataSpec, parse
from prunecli.data.synthetic import batched, noise
from prunecli.demo.data import digits
from prunecli.errors import InputError, UsageError, require_range, unknown_name
from prunecli.report.text import plural

Part: TypeAlias = Literal["train", "test"]

NOISE_SAMPLES = 32
"""Where all samples are asked for and there is no end of them."""


def open_data(
    spec: str,
    specs: tuple[InputSpec, ...],
    *,
    samples: int | None,
    seed: int = 0,
    transform: str | None = None,
    part: Part = "train",
) -> Samples:
    """``samples`` of the data (None: all) for a network that takes ``specs``, chosen by ``seed``: the first
    of one permutation, so that fewer are some of the same.

    ``part`` is what is taken of sets that come divided: calibration takes the training part, evaluation the
    other. Raises ``UsageError`` for what is not a source, ``InputError`` for data that cannot be used.
    """
    source = parse(spec)
    require_range(samples is None or samples >= 1, "--samples", samples, "a whole number from 1")
    if transform is not None and transform not in PRESETS:
        raise unknown_name("transform", transform, PRESETS)
    if source.kind == "noise":
        _refuse_transform(transform, source)
        return noise(specs, samples=samples or NOISE_SAMPLES, seed=seed)
    if source.kind == FUNCTION:
        from prunecli.data.functions import batches_of

        _refuse_transform(transform, source)
        return Samples(batches_of(source.place, source.name, specs, samples, seed), spec)
    if source.kind in ("npz", "safetensors"):
        return _from_arrays(source, specs, samples, seed, transform)
    if source.kind == "digits" and transform is None and [s.shape[1:] for s in specs] == [(1, 8, 8)]:
        return _digits(specs, samples, seed, part)
    return _from_pictures(source, specs, samples, seed, transform, part)


def chosen(count: int, samples: int | None, seed: int) -> list[int]:
    """Which samples: all in order, or the first of a seeded permutation."""
    if samples is None:
        return list(range(count))
    order: list[int] = np.random.default_rng([seed, 1]).permutation(count).tolist()
    return order[:samples]


def _fewer(count: int, samples: int | None) -> tuple[str, ...]:
    return (
        (f"{plural(count, 'sample')}: there are no more",) if samples is not None and count < samples else ()
    )


def _refuse_transform(transform: str | None, source: DataSpec) -> None:
    if transform is not None:
        raise UsageError(
            f"--transform {transform} is for pictures; {source.kind} is taken as it is", "leave it out"
        )


def _from_pictures(
    source: DataSpec,
    specs: tuple[InputSpec, ...],
    samples: int | None,
    seed: int,
    transform: str | None,
    part: Part,
) -> Samples:
    from prunecli.data.folders import pictures_in
    from prunecli.data.sets import digit_pictures, pictures_of

    frame = Frame.of(specs, transform)
    pictures: Sequence[Picture]
    classes: int | None
    notes: tuple[str, ...] = ()
    if source.kind == "imagefolder":
        pictures, classes, notes = pictures_in(source.place)
    elif source.kind == "torchvision":
        pictures, classes = pictures_of(source.name, source.place, part)
    else:
        pictures, classes = digit_pictures(part), 10
    some = [pictures[index] for index in chosen(len(pictures), samples, seed)]
    return samples_of(some, frame, source.text, (*notes, *_fewer(len(pictures), samples)), classes)


def _digits(specs: tuple[InputSpec, ...], samples: int | None, seed: int, part: Part) -> Samples:
    """As the demo's network was trained on them."""
    found = digits(test=part == "test")
    places = torch.tensor(chosen(len(found.labels), samples, seed))
    inputs = arrays.planted(specs, [found.images[places]], "digits")
    notes = _fewer(len(found.labels), samples)
    return Samples((Batch(inputs, found.labels[places]),), "digits", notes, 10)


def _from_arrays(
    source: DataSpec, specs: tuple[InputSpec, ...], samples: int | None, seed: int, transform: str | None
) -> Samples:
    read = arrays.read_npz if source.kind == "npz" else arrays.read_safetensors
    held = read(source.place)
    found = arrays.inputs_in(held, specs, source.shown)
    labels = arrays.labels_in(held)
    notes = _fewer(len(found[0]), samples)
    places = torch.tensor(chosen(len(found[0]), samples, seed))
    some = [array[places] for array in found]
    known = None if labels is None else labels[places]
    if arrays.is_pictures(found[0], specs):
        pictures = arrays.pictures_in(some[0], known, source.shown)
        return samples_of(pictures, Frame.of(specs, transform), source.text, notes)
    _refuse_transform(transform, source)
    if not batched(specs):
        raise InputError("the network's inputs have no dimension for the samples", "--data FILE.py:function")
    return Samples((Batch(arrays.planted(specs, some, source.shown), known),), source.text, notes)

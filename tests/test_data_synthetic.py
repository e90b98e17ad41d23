from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import noise
from prunecli.data.synthetic import batched, octaves

IMAGE = InputSpec(None, "float32", (1, 3, 32, 32))


def drawn(spec: InputSpec, samples: int = 8, seed: int = 0) -> Tensor:
    (batch,) = noise((spec,), samples=samples, seed=seed).chunks(samples)
    (tensor,) = batch.inputs.tensors
    return tensor


def test_the_same_bytes_on_any_number_of_threads() -> None:
    before = torch.get_num_threads()
    digests = set()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            digests.add(hashlib.sha256(drawn(IMAGE).numpy().tobytes()).hexdigest())
    finally:
        torch.set_num_threads(before)
    assert len(digests) == 1
    assert not torch.equal(drawn(IMAGE), drawn(IMAGE, seed=1))


def test_a_sample_does_not_depend_on_how_many_there_are() -> None:
    assert torch.equal(drawn(IMAGE, 3), drawn(IMAGE, 8)[:3])


def test_every_pixel_has_unit_variance() -> None:
    pixels = octaves(np.random.default_rng(0), (4000,), (12, 7))
    assert np.abs(pixels.mean(0)).max() < 0.1
    # Of 4000 draws the variance has a standard error of 0.022; 84 pixels are looked at.
    assert np.abs(pixels.var(0) - 1).max() < 0.12


def test_every_octave_is_as_strong_as_in_a_photograph() -> None:
    """The power of an octave of frequencies is about the same, where that of white noise quadruples."""
    pixels = drawn(InputSpec(None, "float32", (1, 1, 64, 64)), 64).numpy()
    power = (np.abs(np.fft.fft2(pixels)) ** 2).mean((0, 1))
    frequency = np.abs(np.fft.fftfreq(64) * 64)
    radius = np.maximum(frequency[:, None], frequency[None, :])
    bands = [power[(radius >= low) & (radius < 2 * low)].sum() for low in (1, 2, 4, 8, 16)]
    assert max(bands) / min(bands) < 4
    assert power[0, 0] > 20 * power[radius >= 16].mean()


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (IMAGE, (5, 3, 32, 32)),
        (InputSpec(None, "float32", (2, 1, 8, 9)), (5, 1, 8, 9)),
        (InputSpec(None, "float32", (1, 3, 4, 16, 16)), (5, 3, 4, 16, 16)),
        (InputSpec("x", "float16", (1, 10)), (5, 10)),
        (InputSpec("x", "bfloat16", (1, 7, 3)), (5, 7, 3)),
        (InputSpec(None, "float64", (1,)), (5,)),
    ],
)
def test_shape_and_type_are_those_of_the_input(spec: InputSpec, shape: tuple[int, ...]) -> None:
    tensor = drawn(spec, 5)
    assert tuple(tensor.shape) == shape
    assert tensor.dtype == getattr(torch, spec.dtype)
    assert tensor.isfinite().all()


def test_tokens_stay_within_the_vocabulary() -> None:
    tokens = drawn(InputSpec("ids", "int64", (1, 128), (2, 9)), 20)
    assert sorted(tokens.unique().tolist()) == list(range(2, 10))
    unknown = drawn(InputSpec("ids", "int64", (1, 128)), 20)
    assert sorted(unknown.unique().tolist()) == [0, 1]
    assert drawn(InputSpec("mask", "bool", (1, 128)), 2).dtype == torch.bool


def test_several_inputs_come_by_name_and_differ() -> None:
    specs = (InputSpec("a", "float32", (1, 6)), InputSpec("pair.0", "float32", (1, 6)))
    (batch,) = noise(specs, samples=4).chunks(4)
    a, b = batch.inputs.named["a"], batch.inputs.named["pair"][0]
    assert a.shape == b.shape == (4, 6)
    assert not torch.equal(a, b)


def test_a_detectors_images_come_one_at_a_time() -> None:
    (first, second) = noise((InputSpec("images.0", "float32", (3, 32, 48)),), samples=2).chunks(2)
    assert first.inputs.named["images"][0].shape == (3, 32, 48)
    assert not torch.equal(first.inputs.named["images"][0], second.inputs.named["images"][0])


@pytest.mark.parametrize(
    ("shapes", "names", "wanted"),
    [
        ([(1, 3, 8, 8)], [None], True),
        ([(4, 3, 8, 8)], [None], True),
        ([(3, 8, 8)], ["images.0"], False),
        ([(1, 64, 8, 8), (1, 128, 4, 4)], ["maps.0", "maps.1"], True),
        ([(1, 10, 16), (2, 1, 16)], [None, None], False),
        ([()], [None], False),
    ],
)
def test_the_first_dimension_is_the_batch_where_it_can_be(
    shapes: list[tuple[int, ...]], names: list[str | None], wanted: bool
) -> None:
    specs = [InputSpec(name, "float32", shape) for name, shape in zip(names, shapes, strict=True)]
    assert batched(specs) is wanted

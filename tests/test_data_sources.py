from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import COLOUR, class_folders, pixels
from test_data_sets import write as write_idx

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples, open_data
from prunecli.data.sources import chosen
from prunecli.demo.data import digits
from prunecli.errors import InputError, PruneError, UsageError

DIGIT = (InputSpec(None, "float32", (1, 1, 8, 8)),)
VECTOR = (InputSpec("v", "float32", (1, 4)),)


def digest(samples: Samples) -> str:
    """Of everything, in order."""
    found = hashlib.sha256()
    for chunk in samples.chunks(7):
        for tensor in chunk.inputs.tensors:
            found.update(tensor.contiguous().numpy().tobytes())
        if chunk.labels is not None:
            found.update(chunk.labels.numpy().tobytes())
    return found.hexdigest()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    class_folders(root / "photos", 4)
    write_idx(root / "mnist", True)
    np.savez(root / "v.npz", x=np.arange(40, dtype=np.float32).reshape(10, 4), y=np.arange(10))
    np.savez(root / "bytes.npz", images=pixels(0, 10, 20, 18, 3), labels=np.arange(10))
    (root / "own.py").write_text("import torch\ndef f():\n    yield torch.arange(40.).view(10, 4)\n")
    return root


SOURCES = [
    ("digits", DIGIT),
    ("digits", COLOUR),
    ("noise", COLOUR),
    ("imagefolder:@/photos", COLOUR),
    ("torchvision:MNIST:@/mnist", COLOUR),
    ("npz:@/v.npz", VECTOR),
    ("npz:@/bytes.npz", COLOUR),
    ("@/own.py:f", VECTOR),
]


@pytest.mark.parametrize(("spec", "specs"), SOURCES)
def test_the_same_bytes_again_and_on_other_thread_counts(
    place: Path, spec: str, specs: tuple[InputSpec, ...]
) -> None:
    spec = spec.replace("@", str(place))
    before = torch.get_num_threads()
    found = set()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            samples = open_data(spec, specs, samples=4, seed=3)
            found |= {digest(samples), digest(samples)}
            assert len(samples) == 4
            assert samples.origin == spec
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1
    if not spec.endswith(":f"):
        assert digest(open_data(spec, specs, samples=4, seed=4)) not in found


def test_fewer_are_some_of_the_same() -> None:
    assert chosen(100, 10, 0) == chosen(100, 30, 0)[:10]
    assert sorted(chosen(100, 100, 0)) == list(range(100)) != chosen(100, 100, 0)
    assert chosen(5, None, 0) == [0, 1, 2, 3, 4]
    assert chosen(100, 10, 0) != chosen(100, 10, 1)


def test_labels_stay_with_their_samples(place: Path) -> None:
    samples = open_data(f"npz:{place}/v.npz", VECTOR, samples=6, seed=0)
    (chunk,) = samples.chunks(6)
    assert chunk.labels is not None
    assert (chunk.inputs.named["v"][:, 0] / 4).long().tolist() == chunk.labels.tolist()
    by_name = open_data(f"imagefolder:{place}/photos", COLOUR, samples=None, transform="unit")
    (chunk,) = by_name.chunks(12)
    assert chunk.labels is not None
    assert chunk.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert by_name.classes == 3


def test_calibration_and_evaluation_take_other_parts(place: Path) -> None:
    for spec, numbers in (("digits", (1437, 360)), (f"torchvision:MNIST:{place}/mnist", (5, 3))):
        found = [len(open_data(spec, DIGIT, samples=None, part=part)) for part in ("train", "test")]
        assert tuple(found) == numbers


def test_digits_are_as_the_demos_network_saw_them() -> None:
    (chunk,) = open_data("digits", DIGIT, samples=None, part="test").chunks(360)
    assert torch.equal(chunk.inputs.tensors[0], digits(test=True).images)
    (signed,) = open_data("digits", DIGIT, samples=None, part="test", transform="signed").chunks(360)
    assert torch.allclose(signed.inputs.tensors[0], digits(test=True).images, atol=1 / 250)


def test_fewer_than_asked_for_is_told(place: Path) -> None:
    spec = f"npz:{place}/v.npz"
    assert open_data(spec, VECTOR, samples=512).notes == ("10 samples: there are no more",)
    assert open_data(spec, VECTOR, samples=10).notes == open_data(spec, VECTOR, samples=None).notes == ()
    assert len(open_data("noise", VECTOR, samples=None)) == 32


@pytest.mark.parametrize(
    ("spec", "specs", "options", "kind", "message"),
    [
        ("digits", DIGIT, {"samples": 0}, UsageError, "--samples 0 is out of range"),
        ("digits", DIGIT, {"transform": "imagnet"}, UsageError, "unknown transform 'imagnet'"),
        (
            "noise",
            DIGIT,
            {"transform": "unit"},
            UsageError,
            "--transform unit is for pictures; noise is taken",
        ),
        ("npz:@/v.npz", VECTOR, {"transform": "unit"}, UsageError, "npz is taken as it is"),
        (
            "npz:@/v.npz",
            DIGIT,
            {},
            InputError,
            "input of npz:v.npz is [N, 4], the network takes [N, 1, 8, 8]",
        ),
        ("npz:@/bytes.npz", DIGIT, {}, InputError, "npz:bytes.npz 0 is in colour (RGB, 3 channels)"),
        ("imagefolder:@/photos", VECTOR, {}, InputError, "the network takes float32 [1, 4], not one image"),
        (
            "npz:@/v.npz",
            (InputSpec("v.0", "float32", (3, 4)),),
            {},
            InputError,
            "no dimension for the samples",
        ),
    ],
)
def test_what_cannot_be_used(
    place: Path,
    spec: str,
    specs: tuple[InputSpec, ...],
    options: dict[str, object],
    kind: type[PruneError],
    message: str,
) -> None:
    with pytest.raises(kind) as caught:
        open_data(spec.replace("@", str(place)), specs, **{"samples": 4, **options})  # type: ignore[arg-type]
    assert message in caught.value.message
    assert caught.value.hint

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import pixels
from safetensors.torch import save_file

from prunecli.checkpoint.specs import InputSpec
from prunecli.data.arrays import (
    checked_labels,
    fitting,
    inputs_in,
    is_pictures,
    labels_in,
    pictures_in,
    read_npz,
    read_safetensors,
)
from prunecli.errors import InputError

IMAGE = InputSpec(None, "float32", (1, 3, 4, 4))
TOKENS = InputSpec("ids", "int64", (1, 8), (0, 99))


@pytest.mark.parametrize("kind", ["f2", "f4", ">f4", "f8", "i4", ">i8", "u1", "u2", "?"])
def test_numbers_of_every_kind_come_as_they_are(tmp_path: Path, kind: str) -> None:
    values = np.array([[0, 1], [1, 1]]).astype(kind)
    np.savez(tmp_path / "f.npz", x=values)
    np.savez_compressed(tmp_path / "g.npz", x=values)
    for name in ("f.npz", "g.npz"):
        assert read_npz(str(tmp_path / name))["x"].tolist() == values.tolist()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([{}, 1], dtype=object), "holds pickled objects, which are not read"),
        (np.array(["a"]), "array 'x' holds <U1, not numbers"),
        (np.array([1j]), "array 'x' holds complex128, not numbers"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "not numbers"),
    ],
)
def test_arrays_that_are_no_numbers(tmp_path: Path, value: Any, message: str) -> None:
    np.savez(tmp_path / "f.npz", x=value)
    with pytest.raises(InputError, match=message):
        read_npz(str(tmp_path / "f.npz"))


def test_files_that_are_something_else(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    np.savez(tmp_path / "good.npz", x=np.zeros((9, 9)))
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[:150])
    (tmp_path / "text.npz").write_bytes(b"text")
    (tmp_path / "empty.npz").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("x.npy", b"no array")
    for name in ("one.npy", "cut.npz", "text.npz", "empty.npz", "other.npz", "missing.npz", "."):
        with pytest.raises(InputError) as caught:
            read_npz(str(tmp_path / name))
        assert "\n" not in caught.value.message
        assert caught.value.hint
    assert read_npz(str(tmp_path / "good.npz"))["x"].shape == (9, 9)


def test_damage_of_any_kind_is_one_line(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.savez_compressed(held, x=pixels(0, 3, 5, 5), y=np.arange(3))
    generator = np.random.default_rng(3)
    save_file({"x": torch.zeros(2, 3), "y": torch.zeros(2).long()}, tmp_path / "g.safetensors")
    for reader, source in (
        (read_npz, held.getvalue()),
        (read_safetensors, (tmp_path / "g.safetensors").read_bytes()),
    ):
        refused = 0
        for _ in range(150):
            data = bytearray(source)
            for _ in range(int(generator.integers(1, 5))):
                data[int(generator.integers(len(data)))] = int(generator.integers(256))
            path = tmp_path / "broken"
            path.write_bytes(data[: generator.integers(len(data))] if generator.random() < 0.2 else data)
            try:
                reader(str(path))
            except InputError as error:
                assert "\n" not in error.message
                refused += 1
        assert refused > 20


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    save_file({"x": torch.arange(6.0).view(2, 3).half(), "labels": torch.tensor([1, 0])}, path)
    held = read_safetensors(str(path))
    assert held["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
    for name in ("missing", "."):
        with pytest.raises(InputError):
            read_safetensors(str(tmp_path / name))


def test_names_of_inputs_and_labels() -> None:
    x, y = torch.zeros(5, 3, 4, 4), torch.arange(5)
    for name in ("x", "images", "inputs"):
        assert inputs_in({name: x, "y": y}, [IMAGE], "f")[0] is x
    mask = InputSpec("mask", "int64", (1, 8))
    held = {"ids": torch.ones(2, 8), "mask": torch.zeros(2, 8), "labels": torch.tensor([3, 4])}
    assert [array.sum() for array in inputs_in(held, [mask, TOKENS], "f")] == [0, 16]
    assert torch.equal(labels_in(held) if labels_in(held) is not None else y, torch.tensor([3, 4]))  # type: ignore[arg-type]
    assert labels_in({"x": x}) is None


@pytest.mark.parametrize(
    ("held", "specs", "message"),
    [
        ({"z": torch.zeros(2, 3, 4, 4)}, [IMAGE], "f has no array 'x', it has z"),
        ({}, [IMAGE], "f has no array 'x', it has nothing"),
        ({"ids": torch.zeros(2, 8)}, [TOKENS, InputSpec("mask", "int64", (1, 8))], "f has no array 'mask'"),
        ({"x": torch.zeros(2, 8)}, [IMAGE, IMAGE], "several inputs without names"),
        ({"x": torch.zeros(0, 3, 4, 4)}, [IMAGE], "f has no samples: 'x' is [0, 3, 4, 4]"),
        ({"x": torch.tensor(1.0)}, [IMAGE], "f has no samples: 'x' is []"),
        ({"x": torch.zeros(2, 3), "y": torch.arange(3)}, [IMAGE], "f has arrays of 2 and 3 samples"),
    ],
)
def test_arrays_that_are_not_there(held: Any, specs: list[InputSpec], message: str) -> None:
    with pytest.raises(InputError) as caught:
        inputs_in(held, specs, "f")
    assert caught.value.message.startswith(message) or message in caught.value.message


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, 4), "y is [3, 4]"),
        (torch.tensor([0.5]), "y holds fractions"),
        (torch.tensor([float("nan")]), "y holds fractions"),
        (torch.tensor([0, -1]), "y holds -1 at sample 1"),
    ],
)
def test_what_cannot_be_labels(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError) as caught:
        checked_labels(labels, "y")
    assert caught.value.message == message


def test_what_can_be_labels() -> None:
    for labels in (
        torch.tensor([2, 0]),
        torch.tensor([[2], [0]]),
        torch.tensor([2.0, 0.0]),
        torch.tensor([2, 0]).byte(),
    ):
        found = checked_labels(labels)
        assert found.tolist() == [2, 0]
        assert found.dtype == torch.int64


@pytest.mark.parametrize(
    ("array", "spec", "message"),
    [
        (torch.zeros(2, 4, 4, 4), IMAGE, "x is [N, 4, 4, 4], the network takes [N, 3, 4, 4]"),
        (torch.zeros(2, 4, 4, 3), IMAGE, "x is [N, 4, 4, 3], the network takes [N, 3, 4, 4]"),
        (torch.zeros(2, 48), IMAGE, "x is [N, 48], the network takes [N, 3, 4, 4]"),
        (torch.zeros(2, 8), TOKENS, "x holds float32, the network takes int64"),
        (torch.zeros(2, 8, 8).long(), TOKENS, "x is [N, 8, 8], the network takes [N, 8]"),
        (
            torch.tensor([[0.0], [float("nan")]]),
            InputSpec(None, "float32", (1, 1)),
            "x holds NaN or Inf at sample 1",
        ),
        (
            torch.tensor([[float("inf")]]),
            InputSpec(None, "float32", (1, 1)),
            "x holds NaN or Inf at sample 0",
        ),
        (
            torch.tensor([1.0, float("nan")]),
            InputSpec(None, "float32", (1,)),
            "x holds NaN or Inf at sample 1",
        ),
    ],
)
def test_what_does_not_fit(array: torch.Tensor, spec: InputSpec, message: str) -> None:
    with pytest.raises(InputError) as caught:
        fitting(array, spec, "x")
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("array", "spec", "shape"),
    [
        (torch.zeros(2, 3, 4, 4).double(), IMAGE, (2, 3, 4, 4)),
        (torch.zeros(2, 4, 4), InputSpec(None, "float16", (1, 1, 4, 4)), (2, 1, 4, 4)),
        (torch.zeros(2, 20).int(), TOKENS, (2, 20)),
        (torch.zeros(2, 3, 4, 4).long(), IMAGE, (2, 3, 4, 4)),
    ],
)
def test_what_fits(array: torch.Tensor, spec: InputSpec, shape: tuple[int, ...]) -> None:
    found = fitting(array, spec, "x")
    assert tuple(found.shape) == shape
    assert found.dtype == getattr(torch, spec.dtype)


@pytest.mark.parametrize("order", ["NHWC", "NCHW", "NHW", "NHW1"])
def test_bytes_are_pictures(order: str) -> None:
    values = torch.from_numpy(pixels(0, 2, 6, 5, 3))
    given = {
        "NHWC": values,
        "NCHW": values.permute(0, 3, 1, 2),
        "NHW": values[..., 0],
        "NHW1": values[..., :1],
    }[order]
    assert is_pictures(given, [IMAGE])
    image, label = pictures_in(given, torch.tensor([4, 7]), "f")[1].open()
    wanted = values[1] if order in ("NHWC", "NCHW") else values[1, ..., 0]
    assert np.array_equal(np.asarray(image), wanted.numpy())
    assert label == 7


def test_bytes_that_are_no_pictures() -> None:
    with pytest.raises(InputError, match="no images of 1 or 3 channels"):
        pictures_in(torch.zeros(2, 6, 5, 2, dtype=torch.uint8), None, "f")
    assert not is_pictures(torch.zeros(2, 3, 4, 4), [IMAGE])
    assert not is_pictures(torch.zeros(2, 8, dtype=torch.uint8), [TOKENS])
    assert not is_pictures(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [InputSpec(None, "uint8", (1, 3, 4, 4))]
    )

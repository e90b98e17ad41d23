from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import pixels

from prunecli.data.sets import digit_pictures, pictures_of, read_idx
from prunecli.demo.data import digits
from prunecli.errors import InputError

COUNTS = {"train": 5, "t10k": 3}


def idx(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write(place: Path, packed: bool, dot: str = "-", count: int | None = None) -> Path:
    """A set as MNIST is published: four files."""
    place.mkdir(parents=True, exist_ok=True)
    for part, number in COUNTS.items():
        labels = np.arange(count if count is not None else number, dtype=np.uint8)
        for kind, array in (("images{}idx3", pixels(1, number, 6, 6)), ("labels{}idx1", labels)):
            name, content = f"{part}-{kind.format(dot)}-ubyte", idx(array)
            path = place / (f"{name}.gz" if packed else name)
            path.write_bytes(gzip.compress(content) if packed else content)
    return place


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["", "raw", "FashionMNIST/raw"])
def test_idx_files_are_read_where_they_lie(tmp_path: Path, packed: bool, place: str) -> None:
    write(tmp_path / place, packed, "." if place == "raw" else "-")
    for part, number in (("train", 5), ("test", 3)):
        found, classes = pictures_of("FashionMNIST", str(tmp_path), part)
        opened = [picture.open() for picture in found]
        assert np.array_equal(np.stack([np.asarray(image) for image, _ in opened]), pixels(1, number, 6, 6))
        assert [label for _, label in opened] == list(range(number))
        assert classes == number


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "could not be read"),
        (b"\0\0\x08\x03", "could not be read"),
        (idx(pixels(0, 4)), "could not be read"),
        (struct.pack(">4I", 0x0803, 2**31, 2**31, 2**31), "is no idx file of 3 dimensions"),
        (struct.pack(">4I", 0x0D03, 2, 2, 2) + bytes(8), "is no idx file of 3 dimensions"),
        (idx(pixels(0, 4, 2, 2))[:-1], "has not the 16 bytes"),
        (idx(pixels(0, 4, 2, 2)) + b"x", "has not the 16 bytes"),
    ],
)
def test_a_damaged_idx_file(tmp_path: Path, content: bytes, message: str) -> None:
    for name, data in (("f", content), ("f.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError) as caught:
            read_idx(tmp_path / name, 3)
        assert message in caught.value.message
    (tmp_path / "good").write_bytes(idx(pixels(0, 4, 2, 2)))
    assert read_idx(tmp_path / "good", 3).shape == (4, 2, 2)


def test_a_damaged_archive(tmp_path: Path) -> None:
    content = gzip.compress(idx(pixels(0, 400, 2, 2)))
    for broken in (content[:-20], content[:30] + b"\xff\xff\xff" + content[33:], b"no gzip"):
        (tmp_path / "f.gz").write_bytes(broken)
        with pytest.raises(InputError, match=r"f\.gz could not be read"):
            read_idx(tmp_path / "f.gz", 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("FashionMNIST", "has no train-images-idx3-ubyte"),
        ("CIFAR10", "torchvision's CIFAR10 could not be opened"),
    ],
)
def test_a_set_that_is_not_there(tmp_path: Path, name: str, message: str) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError) as caught:
            pictures_of(name, str(place), "train")
        assert caught.value.hint
        assert (message if place.is_dir() else "there is no folder") in caught.value.message
        assert "\n" not in caught.value.message
    assert not list(tmp_path.iterdir())


def test_labels_that_are_not_as_many_as_the_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 5 images and 9 labels"):
        pictures_of("MNIST", str(write(tmp_path, True, count=9)), "train")


def test_a_set_that_torchvision_reads(tmp_path: Path) -> None:
    """EuroSAT is a folder per class."""
    from PIL import Image

    for label, name in enumerate(("Forest", "River")):
        place = tmp_path / "eurosat" / "2750" / name
        place.mkdir(parents=True)
        Image.fromarray(pixels(label, 5, 5, 3)).save(place / "1.png")
    found, classes = pictures_of("EuroSAT", str(tmp_path), "test")
    opened = [picture.open() for picture in found]
    assert [label for _, label in opened] == [0, 1]
    assert np.array_equal(np.asarray(opened[1][0]), pixels(1, 5, 5, 3))
    assert classes == 2


def test_the_demos_digits_as_pictures() -> None:
    stored = digits(test=True)
    found = digit_pictures("test")
    assert len(found) == 360
    image, label = found[7].open()
    assert label == stored.labels[7]
    wanted = (stored.images[7, 0].numpy() + 1) / 2 * 255
    assert np.abs(np.asarray(image) - wanted).max() <= 0.5
    assert len(digit_pictures("train")) == 1437

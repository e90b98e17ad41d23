"""``torchvision:SET:DIR`` and ``digits``: known sets that are on the disk. Nothing is ever downloaded."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from prunecli.data.pictures import Picture
from prunecli.data.specs import IDX_SETS, SETS
from prunecli.demo.data import GREY_LEVELS, digits
from prunecli.errors import InputError, first_line

Array = npt.NDArray[np.uint8]

_PARTS = {"train": "train", "test": "t10k"}
_MOST_BYTES = 2**31


def pictures_of(name: str, directory: str, part: str) -> tuple[Sequence[Picture], int | None]:
    """The pictures of the training or the test ``part`` of a set, and the number of classes.

    Raises ``InputError`` for a set that is not there or is damaged.
    """
    root = Path(directory)
    if not root.is_dir():
        raise InputError(f"there is no folder '{directory}' with {name}", "check the path in --data")
    if name in IDX_SETS:
        return _idx_pictures(name, root, part)
    return _torchvision_pictures(name, root, part)


def digit_pictures(part: str) -> Sequence[Picture]:
    """The demo's digits as grey pictures."""
    found = digits(test=part == "test")
    levels = ((found.images[:, 0] + 1) / 2 * GREY_LEVELS).round()
    pixels = (levels * (255 / GREY_LEVELS)).round().byte().numpy()
    return _grey_pictures("digit", pixels, found.labels.numpy())


def _grey_pictures(name: str, pixels: Array, labels: npt.NDArray[Any]) -> list[Picture]:
    return [
        Picture(f"{name} {index}", partial(_grey, image, int(label)))
        for index, (image, label) in enumerate(zip(pixels, labels, strict=True))
    ]


def _grey(pixels: Array, label: int) -> tuple[Image.Image, int]:
    return Image.fromarray(pixels), label


def _idx_pictures(name: str, root: Path, part: str) -> tuple[Sequence[Picture], int]:
    pixels = read_idx(_idx_file(name, root, f"{_PARTS[part]}-images", "idx3"), 3)
    labels = read_idx(_idx_file(name, root, f"{_PARTS[part]}-labels", "idx1"), 1)
    if len(pixels) != len(labels) or not len(labels):
        raise InputError(
            f"{name} in '{root}' has {len(pixels)} images and {len(labels)} labels", "get it again"
        )
    return _grey_pictures(f"image {part}", pixels, labels), int(labels.max()) + 1


def _idx_file(name: str, root: Path, stem: str, kind: str) -> Path:
    """In the folder itself, or where torchvision puts it."""
    names = [f"{stem}{dot}{kind}-ubyte{end}" for dot in ("-", ".") for end in ("", ".gz")]
    for place in (root, root / "raw", root / name / "raw"):
        for file in names:
            if (place / file).is_file():
                return place / file
    raise InputError(f"'{root}' has no {names[0]}", f"name the folder with the files of {name}")


def read_idx(path: Path, dimensions: int) -> Array:
    """An idx file of bytes, packed with gzip or not. Raises ``InputError`` for one that is damaged."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic, *shape = struct.unpack(f">{1 + dimensions}I", file.read(4 + 4 * dimensions))
            size = int(np.prod(shape, dtype=object))
            if magic != 0x0800 + dimensions or size > _MOST_BYTES:
                raise InputError(f"{path.name} is no idx file of {dimensions} dimensions", "get it again")
            content = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path.name} could not be read: {first_line(error)}", "get it again") from None
    if len(content) != size:
        raise InputError(f"{path.name} has not the {size} bytes that it announces", "get it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _torchvision_pictures(name: str, root: Path, part: str) -> tuple[Sequence[Picture], int | None]:
    import torchvision

    train, test = SETS[name]
    try:
        found = getattr(torchvision.datasets, name)(root=str(root), **(test if part == "test" else train))
    except Exception as error:
        # Every set has its own way to say that it is not there.
        raise InputError(
            f"torchvision's {name} could not be opened in '{root}': {first_line(error)}",
            "name the folder that torchvision wrote it to",
        ) from None
    classes = getattr(found, "classes", None)
    pictures = [Picture(f"{name} {index}", partial(_entry, found, index)) for index in range(len(found))]
    return pictures, len(classes) if classes else None


def _entry(found: Any, index: int) -> tuple[Image.Image, int]:
    image, label = found[index]
    return image, int(label)

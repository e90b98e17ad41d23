from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import class_folders, pixels, write
from PIL import Image

from prunecli.data.folders import pictures_in
from prunecli.errors import InputError


def test_labels_count_the_class_folders_by_name(tmp_path: Path) -> None:
    found, classes, notes = pictures_in(str(class_folders(tmp_path)))
    assert classes == 3
    assert not notes
    told = [(picture.name, picture.open()[1]) for picture in found]
    names = ("ant", "bee", "cat")
    assert told == [(f"{name}/{i}.png", label) for label, name in enumerate(names) for i in range(3)]
    image, _ = found[3].open()
    assert np.array_equal(np.asarray(image), pixels(0, 20, 24, 3))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.txt"):
        write(tmp_path / "x.png").rename(tmp_path / name)
    found, classes, notes = pictures_in(str(tmp_path))
    assert [(picture.name, picture.open()[1]) for picture in found] == [("a.jpg", None), ("b.PNG", None)]
    assert classes is None
    assert notes == ("no class folders: the images have no labels",)


def test_one_folder_is_no_classes(tmp_path: Path) -> None:
    found, classes, _ = pictures_in(str(class_folders(tmp_path, 2, ("all",))))
    assert [picture.open()[1] for picture in found] == [None, None]
    assert classes is None


def test_an_empty_class_counts_and_images_beside_the_classes_are_told(tmp_path: Path) -> None:
    class_folders(tmp_path, 1, ("a", "c"))
    (tmp_path / "b").mkdir()
    write(tmp_path / "beside.png")
    found, classes, notes = pictures_in(str(tmp_path))
    assert [picture.open()[1] for picture in found] == [0, 2]
    assert classes == 3
    assert notes == ("1 image beside the class folders left out",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "is not there"),
        (lambda path: path.write_bytes(b""), "is a file, not a folder"),
        (lambda path: path.mkdir(), "has no images"),
        (lambda path: (path / "a").mkdir(parents=True), "has no images"),
    ],
)
def test_no_images(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "photos"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError) as caught:
        pictures_in(str(path))
    assert caught.value.message == f"image folder '{path}' {message}"
    assert caught.value.hint
    if not path.is_file():
        path.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(path / "a.png")
        assert len(pictures_in(str(path))[0]) == 1

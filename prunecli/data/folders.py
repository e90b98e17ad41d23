"""``imagefolder:DIR``: a folder with a sub-folder of pictures per class, or with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from torchvision.datasets.folder import IMG_EXTENSIONS, ImageFolder

from prunecli.data.pictures import Picture, open_file
from prunecli.errors import InputError
from prunecli.report.text import plural


def pictures_in(directory: str) -> tuple[Sequence[Picture], int | None, tuple[str, ...]]:
    """The pictures, the number of classes, and notes. Labels count the class folders in the order of their
    names. Raises ``InputError`` for a folder that is missing or has none.
    """
    root = Path(directory)
    try:
        if not root.is_dir():
            what = "a file, not a folder" if root.exists() else "not there"
            raise InputError(f"image folder '{directory}' is {what}", "check the path in --data")
        flat = sorted(p for p in root.iterdir() if p.suffix.lower() in IMG_EXTENSIONS and p.is_file())
        found, classes = _by_class(root)
    except OSError as error:
        raise InputError(f"image folder '{directory}' could not be read: {error.strerror}") from None
    if classes > 1 and found:
        beside = f"{plural(len(flat), 'image')} beside the class folders left out"
        return found, classes, (beside,) if flat else ()
    flat += [] if flat else [Path(root, picture.name) for picture in found]
    if not flat:
        raise InputError(
            f"image folder '{directory}' has no images", f"images end in {', '.join(IMG_EXTENSIONS)}"
        )
    note = "no class folders: the images have no labels"
    return [Picture(p.name, partial(open_file, p)) for p in flat], None, (note,)


def _by_class(root: Path) -> tuple[list[Picture], int]:
    """As torchvision finds them; empty folders count as classes, as they did where the labels came from."""
    if not any(entry.is_dir() for entry in root.iterdir()):
        return [], 0
    listed = ImageFolder(str(root), allow_empty=True)
    pictures = [
        Picture(Path(path).relative_to(root).as_posix(), partial(open_file, Path(path), label))
        for path, label in listed.samples
    ]
    return pictures, len(listed.classes)

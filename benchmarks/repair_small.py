"""Two small networks without convolutions for ``benchmarks/repair_kinds.py``: a ViT and an MLP-mixer for grey
28 x 28 pictures, which they read as 16 patches of 7 x 7, and how they are trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch
from fashion import Recipe, accuracy, batches, pictures
from torch import Tensor, nn
from torch.nn import functional

PATCH, PATCHES, WIDTH, DEPTH, CLASSES = 7, 16, 64, 4, 10


class Patches(nn.Module):
    """``[N, 1, 28, 28]`` to ``[N, 16, WIDTH]``."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(1, WIDTH, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).transpose(1, 2)


def mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Attention(nn.Module):
    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    """Norms come first in each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH), mlp(WIDTH, 4 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Mixer(nn.Module):
    """One MLP over the patches, one over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.tokens = nn.LayerNorm(WIDTH), mlp(PATCHES, 2 * PATCHES)
        self.norm2, self.channels = nn.LayerNorm(WIDTH), mlp(WIDTH, 4 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class SmallViT(nn.Module):
    """With a class token, as ViT has it."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches()
        self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, PATCHES + 1, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Encoder() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class SmallMixer(nn.Module):
    """With the mean over the patches before its head."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches()
        self.blocks = nn.Sequential(*(Mixer() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.patches(x))).mean(1))


SMALL: dict[str, Callable[[], nn.Module]] = {"vit": SmallViT, "mixer": SmallMixer}


def train(name: str, folder: Path, path: Path, epochs: int) -> None:
    """AdamW with one cycle of the learning rate; the weights are in ``path`` after every epoch."""
    recipe = Recipe(epochs, batch=128, rate=2e-3, decay=0.05)
    torch.manual_seed(recipe.seed)
    network = SMALL[name]()
    images, labels = pictures(folder, "train")
    test = pictures(folder, "t10k")
    optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * (len(labels) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    began = perf_counter()
    for epoch in range(recipe.epochs):
        for some, wanted in batches(images, labels, recipe, epoch):
            loss = functional.cross_entropy(network(some), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        torch.save(network.state_dict(), path)
        reached = accuracy(network, *test)
        print(f"{name}, epoch {epoch + 1}: {reached:.4f}, {perf_counter() - began:.0f} s", flush=True)


def loaded(name: str, path: Path) -> nn.Module:
    network = SMALL[name]()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()

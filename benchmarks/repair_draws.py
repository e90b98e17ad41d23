"""How much hangs on which inputs were drawn: repairs on few of them, with one seed after the other.

    python benchmarks/repair_draws.py resnet20.pth DIR --results draws.jsonl

The networks of ``repair.py`` (magnitude-l2, scheme protected). The seed chooses the images and the noise;
what is cut is the same. DIR holds Fashion-MNIST's four idx.gz files. Goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from fashion import NETWORK, accuracy, calibration, measurement, pictures

import prunecli

SPEEDUPS = (2.0, 4.0, 8.0)
WAYS = (0, 32, 512)
"""Images, 0 for 32 inputs of noise."""
SEEDS = range(5)


@dataclass(frozen=True)
class Draw:
    """``accuracy``: share of the 10,000 test images."""

    speedup: float
    images: int
    seed: int
    accuracy: float

    @property
    def key(self) -> tuple[float, int, int]:
        return self.speedup, self.images, self.seed


def read(results: Path) -> list[Draw]:
    if not results.exists():
        return []
    return [Draw(**json.loads(line)) for line in results.read_text().splitlines()]


def measure(checkpoint: Path, folder: Path, results: Path) -> None:
    test = pictures(folder, "t10k")
    known = {draw.key for draw in read(results)}
    for speedup in SPEEDUPS:
        cut = prunecli.prune(checkpoint, **NETWORK, speedup=speedup, repair="none")
        for images in WAYS:
            data = calibration(folder, images)
            for seed in SEEDS:
                if (speedup, images, seed) in known:
                    continue
                repaired = prunecli.prune(checkpoint, **NETWORK, plan=cut.plan, seed=seed, **data).model
                draw = Draw(speedup, images, seed, accuracy(repaired, *test))
                with results.open("a") as file:
                    file.write(json.dumps(asdict(draw)) + "\n")
                print(draw, flush=True)


INTRODUCTION = """## How much hangs on the draw

Points below dense at the scheme *protected*, with the seeds 0 to 4 (`benchmarks/repair_draws.py`): the
median, and the least and the most. All other tables are of seed 0."""


def section(draws: Sequence[Draw], dense: float) -> str:
    names = [f"{images} images" if images else "noise, 32 inputs" for images in WAYS]
    lines = ["| speedup | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for speedup in SPEEDUPS:
        shown = []
        for images in WAYS:
            lost = sorted(
                100 * (dense - draw.accuracy) for draw in draws
                if (draw.speedup, draw.images) == (speedup, images)
            )  # fmt: skip
            shown.append(f"{median(lost):.2f} ({lost[0]:.2f} to {lost[-1]:.2f})" if lost else "")
        lines.append(f"| {speedup:g}x | " + " | ".join(shown) + " |")
    return f"{INTRODUCTION}\n\n" + "\n".join(lines)


if __name__ == "__main__":
    given = measurement(__doc__)
    measure(given.checkpoint, given.data, given.results)

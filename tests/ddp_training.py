"""Training by several processes: ``torchrun ddp_training.py FOLDER COUNT BATCH``, or by one without torchrun.

In float64, with GroupNorm and without augmentation; the weights are ``FOLDER/done-RANK.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from training_examples import kept_at, loop_of, pictures, small

from prunecli.data.samples import Batch, Samples
from prunecli.quality import measure
from prunecli.training.distributed import joined

STEPS = 50


def doubled(samples: Samples) -> Samples:
    batch = samples.batches[0]
    return Samples((Batch(batch.inputs.map(torch.Tensor.double), batch.labels),), "made up", classes=3)


def main(folder: Path, count: int, batch_size: int) -> None:
    torch.set_num_threads(1)
    with joined("cpu", None) as (team, _):
        network = small("group", dropout=0.0).double()
        epochs = -(-STEPS // -(-count // (batch_size * team.size)))
        loop = loop_of(
            network, doubled(pictures(count)), kept_at(folder), epochs=epochs, batch_size=batch_size,
            schedule="cosine", clip=1.0, ema=0.9, team=team,
        )  # fmt: skip
        loop.judge = lambda module: measure({"": module}, doubled(pictures(9, 2)))[""]
        average = loop.run()
    rows = [(row.loss, row.top1, row.samples) for row in loop.rows]
    found = {"network": network.state_dict(), "average": average.state_dict(), "rows": rows}
    torch.save(found, folder / f"done-{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

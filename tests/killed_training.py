"""A run to be killed: ``python killed_training.py FOLDER [--resume]``. The result is ``FOLDER/done.pt``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from training_examples import kept_at, loop_of, pictures, small

STEPS, PAUSE = 6 * 8, 0.02


def main(folder: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    network = small()
    loop = loop_of(
        network, pictures(40), kept_at(folder, resume=resume), epochs=6, ema=0.9, schedule="cosine",
        augment="crop", warmup=1, optimizer="adamw",
    )  # fmt: skip
    network.register_forward_hook(lambda *_: time.sleep(PAUSE) if network.training else None)
    print("started", flush=True)
    result = loop.run()
    torch.save({"result": result.state_dict(), "trained": network.state_dict()}, folder / "done.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--resume" in sys.argv)

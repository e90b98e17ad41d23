"""Writes ``digits.npz``: ``python -m prunecli.demo.make_data``. Only this needs scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits  # type: ignore  # it has no types, and may be absent

TEST_IMAGES_PER_CLASS = 36


def main() -> None:
    source = load_digits()
    shuffled = np.random.default_rng(0).permutation(len(source.target))
    test = np.zeros(len(source.target), dtype=bool)
    for label in range(10):
        test[shuffled[source.target[shuffled] == label][:TEST_IMAGES_PER_CLASS]] = True
    target = Path(__file__).with_name("digits.npz")
    np.savez_compressed(
        target,
        images=source.images.astype(np.uint8),
        labels=source.target.astype(np.uint8),
        test=test,
    )
    print(
        f"{target.name}: {test.sum()} test and {(~test).sum()} training images, {target.stat().st_size} bytes"
    )


if __name__ == "__main__":
    main()

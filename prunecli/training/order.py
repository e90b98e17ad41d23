"""In which order an epoch reads the samples: a function of the seed and the epoch alone, so that a run which
goes on after a crash reads what is left of the epoch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """A permutation of ``count`` samples, int64 ``[count]``."""
    return torch.from_numpy(np.random.default_rng([seed, 2, epoch]).permutation(count))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """The last batch has what is left; a single sample is left out of the epoch, since norms take the
    statistics of a batch.
    """
    full, left = divmod(count, batch_size)
    return full + (left > 1 or (left == 1 and not full))


def places(order: Tensor, step: int, batch_size: int) -> Tensor:
    """The samples of one step."""
    return order[step * batch_size : (step + 1) * batch_size]

"""Equality of what two networks with the same weights compute."""

from __future__ import annotations

import torch
from torch import Tensor


def same_outputs(found: Tensor, wanted: Tensor) -> bool:
    """Equal but for the last bits: a processor may add up in another order where the same weights lie
    otherwise in memory. That the weights are the same to the bit, their digests say.
    """
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-5, atol=1e-6)

"""What tests of ultralytics networks share. It is never imported in this process by the tests themselves."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import nn

from prunecli.networks import build

# Not importorskip: importing ultralytics prints, and leaves settings in the user's home.
needs_ultralytics = pytest.mark.skipif(
    find_spec("ultralytics") is None, reason="ultralytics is not installed (extra yolo)"
)


def yolo(name: str, classes: int, seed: int = 0) -> nn.Module:
    """Random weights, and statistics that a norm in eval mode can be seen by."""
    net = build(f"ultralytics:{name}", {"nc": classes})[0]
    torch.manual_seed(seed)
    for tensor_name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if tensor.dim() and ".dfl." not in tensor_name:
            spread = tensor.data[0].numel() ** -0.5 if tensor.dim() > 1 else 0.5
            positive = tensor_name.endswith(("bn.weight", "running_var"))
            nn.init.uniform_(tensor.data, 0.5 if positive else -spread, 1.5 if positive else spread)
    return net.eval()

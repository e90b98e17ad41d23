"""Which integers of torch's layers no cut changes."""

from __future__ import annotations

import pytest
from torch import nn

from prunecli.networks.layers import is_geometry


class Own(nn.Module):
    pass


@pytest.mark.parametrize(
    ("module", "attribute", "expected"),
    [
        (nn.Conv2d(2, 2, 3), "stride", True),
        (nn.Conv2d(2, 2, 3), "out_channels", False),
        (nn.Conv2d(2, 2, 3), "groups", False),
        (nn.MaxPool2d(2), "kernel_size", True),
        (nn.AdaptiveAvgPool2d(1), "output_size", False),
        (nn.ZeroPad2d(1), "padding", False),
        (nn.Flatten(), "start_dim", True),
        (Own(), "dim", False),
        (Own(), "stride", False),
    ],
)
def test_geometry(module: nn.Module, attribute: str, expected: bool) -> None:
    assert is_geometry(module, attribute) is expected

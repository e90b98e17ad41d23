"""The registry of handlers, and what is done with functions that have none."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from tracing import Net, check, free, space_of

from prunecli.coupling.functions import HANDLERS, register_adapter


def test_unknown_uses_of_a_number_keep_its_value() -> None:
    """A size that becomes data cannot be followed."""
    net = Net(
        lambda m, x: m.b(m.a(x) * torch.full((1,), m.a(x).shape[1] / 3)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)
    )
    space = space_of(net, 2, 4)
    assert not free(space)
    assert "in a division" in (space.by_name["a"].frozen or "")


def test_handlers_are_registered_once() -> None:
    with pytest.raises(ValueError, match="already has a handler"):
        register_adapter(torch.chunk)(HANDLERS[torch.chunk])


def test_a_number_to_the_power_of_a_tensor() -> None:
    """A position code: the base keeps its value, everything else goes on."""
    net = Net(
        lambda m, x: m.b(m.a(x) * (m.base ** (torch.arange(2.0) / 2)).sum()),
        a=nn.Linear(4, 6), b=nn.Linear(6, 2), base=10,
    )  # fmt: skip
    assert free(check(net, 2, 4)) == {"a": 6}

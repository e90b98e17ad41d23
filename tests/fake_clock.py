"""A clock that only the layers of a network move on, each by what it is said to cost."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

_TIME = [0.0]
RAN: list[str] = []
"""The names of the layers that ran. Here, since networks are copied to be timed."""


def start() -> None:
    _TIME[0] = 0.0
    RAN.clear()


def now() -> float:
    return _TIME[0]


def spend(seconds: float) -> None:
    _TIME[0] += seconds


class Costs(nn.Module):
    """Takes ``milliseconds`` in its first calls, one after the other, and the last of them in all others."""

    def __init__(self, name: str, *milliseconds: float) -> None:
        super().__init__()
        self.name = name
        self.milliseconds: Sequence[float] = milliseconds

    def forward(self, x: Tensor) -> Tensor:
        RAN.append(self.name)
        spend(self.milliseconds[0] / 1000)
        self.milliseconds = self.milliseconds[1:] or self.milliseconds
        return x

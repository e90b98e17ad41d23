"""How long a network takes, as values. Times are milliseconds of one forward of the whole batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Over several runs: the median, and what a tenth of them stay below (``low``) and above (``high``)."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LayerLatency:
    """One module that does arithmetic of its own, in execution order; ``after`` is None in an inspection."""

    name: str
    before: Spread
    after: Spread | None = None


@dataclass(frozen=True)
class Latency:
    """The dense and the pruned network in turns, ``runs`` times each after warming up.

    ``speedup`` is the quotient of the medians and ``macs_ratio`` that of the multiply-adds. Where the former
    is below 0.7 of the latter, ``slow`` names the layers that keep it there, the worst first, and ``advice``
    says what would help. Without a pruned network these are None and empty.
    """

    device: str
    threads: int
    batch: int
    dtype: str
    runs: int
    before: Spread
    after: Spread | None = None
    speedup: float | None = None
    macs_ratio: float | None = None
    layers: tuple[LayerLatency, ...] = ()
    slow: tuple[str, ...] = ()
    advice: str | None = None

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
    """One module that does arithmetic of its own, in execution order, without the modules of that kind which
    it calls; all its calls together. ``after`` is None where there is one network.
    """

    name: str
    before: Spread
    after: Spread | None = None


@dataclass(frozen=True)
class Latency:
    """The dense network (``before``) and the pruned one (``after``) in turns, ``runs`` times each after
    warming up; where there is one network alone it is ``before``. Layers were timed in runs of their own, and
    are missing where those would have taken too long.

    ``speedup`` is the quotient of the medians and ``macs_ratio`` that of the multiply-adds (None where they
    were not counted). Where the former is below 0.7 of the latter, ``slow`` names the layers that keep it
    there, the worst first, and ``advice`` says what would help.
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

    @property
    def result(self) -> Spread:
        """Of the network that the document is about: the pruned one where there are two."""
        return self.before if self.after is None else self.after

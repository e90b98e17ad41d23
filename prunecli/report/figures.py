"""How good a network is, as values. Shares lie between 0 and 1; a figure that could not be taken is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Quality:
    """Figures over ``samples``; ``classes`` is what the network tells apart, if it is a classifier.

    With labels: ``top1``, ``top5`` (of more than five classes), ``loss`` (cross-entropy, nats). Against the
    dense network: ``agreement`` of top-1, ``error`` of all outputs (relative L2), ``divergence``
    (Kullback-Leibler of its class probabilities from the dense ones, nats).
    """

    samples: int
    top1: float | None = None
    top5: float | None = None
    loss: float | None = None
    agreement: float | None = None
    error: float | None = None
    divergence: float | None = None
    classes: int | None = None

    @property
    def is_empty(self) -> bool:
        return self.top1 is None and self.error is None and self.agreement is None


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Where the samples come from (with names for paths), how many, and whether they had labels."""

    origin: str
    samples: int
    labelled: bool


@dataclass(frozen=True, slots=True)
class OperationRow:
    """What repair did to one weighted operation. ``method``: ``least squares``, ``least squares of the sum``
    (its output and the stream that it is added to), ``channel mixing``, or '' where it was left as cut, for
    ``reason``. A projection whose queries were then solved for attention's logits has ``least squares of the
    logits`` if it makes nothing else or was left so far; `` and of the logits`` is added to what was done if
    it makes keys or values too.

    ``ridge`` is relative to the mean eigenvalue of the inputs' moments; ``before`` and ``after`` are
    squared errors of its output on held-out samples, as shares of its variance. For ``least squares of the
    logits`` they are those of the logits, of all heads together, each of which has a ridge of its own.
    """

    weight: str
    method: str
    reason: str | None = None
    ridge: float | None = None
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True)
class RepairFacts:
    """``asked``: the method asked for; ``applied``: what was written (``none``, ``bn``, ``lstsq``, ``lstsq,
    bn``), the candidate with the smallest of ``errors`` (relative L2 of all outputs, on inputs that no fit
    has seen).
    """

    asked: str
    applied: str
    data: DataFacts
    errors: Mapping[str, float] = field(default_factory=dict)
    operations: tuple[OperationRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """The scores that the units of a group had when they were last chosen among: ``counts`` in equal parts
    from ``low`` to ``high``, and how many of those were then ``removed``.
    """

    group: str
    low: float
    high: float
    counts: tuple[int, ...]
    removed: tuple[int, ...]

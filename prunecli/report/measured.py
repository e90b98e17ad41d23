"""How good a network is, as values: :class:`Quality`, and the document :class:`Evaluation`
(``prunecli.eval/1``). Shares lie between 0 and 1; a figure that could not be taken is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunecli.report.model import Input, NetworkFacts, Source, document


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


@dataclass(frozen=True)
class Evaluation:
    """The quality of a checkpoint. ``against`` and ``dense`` are the dense network's file and its own
    figures, where one was given (``against`` is None for a module).
    """

    version: str
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    data: DataFacts
    quality: Quality
    against: Source | None = None
    dense: Quality | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: Literal["prunecli.eval/1"] = "prunecli.eval/1"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)

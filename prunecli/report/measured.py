"""The document of ``prune eval``: :class:`Evaluation` (``prunecli.eval/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunecli.report.figures import DataFacts, Quality
from prunecli.report.gated import Gate
from prunecli.report.model import Input, NetworkFacts, Source, Totals, document


@dataclass(frozen=True)
class Evaluation:
    """The quality of a checkpoint. ``against`` and ``dense`` are the dense network's file and its own
    figures, where one was given (``against`` is None for a module). ``totals`` is None where no gate asks for
    sizes, ``command`` empty in Python.
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
    totals: Totals | None = None
    gates: tuple[Gate, ...] = ()
    command: tuple[str, ...] = ()
    schema: Literal["prunecli.eval/1"] = "prunecli.eval/1"

    @property
    def columns(self) -> dict[str, Quality]:
        """Of the dense network where there is one, beside those of this one."""
        return {"this": self.quality} if self.dense is None else {"dense": self.dense, "this": self.quality}

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)

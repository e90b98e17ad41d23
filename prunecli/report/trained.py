"""The document of ``prune finetune``: :class:`Finetuning` (``prunecli.finetune/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunecli.report.epochs import EpochRow, Sparsity
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.gated import Gate
from prunecli.report.model import Input, NetworkFacts, Output, Proof, Scalar, Source, document
from prunecli.report.timed import Latency

__all__ = ["EpochRow", "Finetuning", "Sparsity"]


@dataclass(frozen=True)
class Finetuning:
    """Everything about one ``prune finetune``, or of one ``prune sparsify`` (then with ``sparsity``).

    ``settings`` are those of :class:`prunecli.training.settings.Settings`, ``data`` what was trained on,
    ``validation`` what figures are taken on (None: on nothing). ``before`` and ``after`` are the quality of
    the network that was read and of the one that is written, ``dense`` that of the network ``against``,
    which it learned from. ``best`` is the epoch whose weights are written, where that is not the last.
    ``threads``, ``device`` and ``processes`` (that trained together, each with ``batch_size`` samples a step)
    belong to the settings: only with the same do the same bytes come out. ``latency`` is that of the trained
    network, beside the network ``against`` where there is one; None where it was not measured. ``gates`` are
    the limits that were set; where one does not hold, ``output`` is None (and where it could not, nothing was
    trained).
    """

    version: str
    command: tuple[str, ...]
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    settings: Mapping[str, Scalar | tuple[Scalar, ...]]
    data: DataFacts
    validation: DataFacts | None
    against: Source | None
    device: str
    threads: int
    epochs: tuple[EpochRow, ...]
    before: Quality | None = None
    after: Quality | None = None
    dense: Quality | None = None
    best: int | None = None
    changed_by: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()
    output: Output | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    processes: int = 1
    sparsity: Sparsity | None = None
    gates: tuple[Gate, ...] = ()
    latency: Latency | None = None
    schema: Literal["prunecli.finetune/1"] = "prunecli.finetune/1"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)

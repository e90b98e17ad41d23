"""The document of ``prune diff``: :class:`Difference` (``prunecli.diff/1``)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from prunecli.report.figures import DataFacts, Quality
from prunecli.report.gated import Gate
from prunecli.report.model import Input, NetworkFacts, Scalar, Totals, document

Relation = Literal["identical", "changed", "cut", "resized", "alike", "described", "runs", "different"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """As ``Totals``; None where it is not known."""

    params: int | None = None
    macs: int | None = None
    bytes: int | None = None

    @staticmethod
    def of(totals: Totals) -> Sizes:
        return Sizes(totals.params, totals.macs, totals.bytes)


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: a ``checkpoint``, the ``report`` of a run (figures are those of its result), an
    ``inspection``, or the report of a ``training``, which has no sizes.

    ``digest`` is the SHA-256 of the checkpoint, or of the one that the report is about (None where none was
    written). ``changed_by`` names what changed the weights since the cut. Of a report, ``before``,
    ``dense`` and ``latency_before`` are the size, quality and latency of what was cut. ``latency`` is the
    median in ms.
    """

    name: str
    kind: Literal["checkpoint", "report", "inspection", "training"]
    digest: str | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    totals: Sizes
    counter: str
    changed_by: tuple[str, ...] = ()
    quality: Quality | None = None
    latency: float | None = None
    before: Sizes | None = None
    dense: Quality | None = None
    latency_before: float | None = None


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """A layer in both; what one side does not have is None. ``change`` is the relative L2 distance of B's
    tensors from A's, of those units that both have; None where nothing can be compared.
    """

    name: str
    type: str
    shape_a: tuple[int, ...] | None
    shape_b: tuple[int, ...] | None
    params_a: int | None
    params_b: int | None
    macs_a: int | None
    macs_b: int | None
    change: float | None = None

    @property
    def differs(self) -> bool:
        """Whether there is anything to tell of it."""
        sizes = (self.shape_a, self.params_a, self.macs_a) != (self.shape_b, self.params_b, self.macs_b)
        return sizes or bool(self.change)


@dataclass(frozen=True, slots=True)
class GroupDifference:
    """A group of which units were removed: of ``dense`` units A has ``a`` and B ``b``, ``shared`` of them the
    same ones (None where that is not known).
    """

    name: str
    dense: int
    a: int
    b: int
    shared: int | None = None


@dataclass(frozen=True, slots=True)
class TensorCounts:
    """How many tensors are equal bit by bit (for a cut: to what is left of A's), have other values, have
    another shape, and are only in one of the two.
    """

    equal: int
    changed: int
    resized: int
    only_a: int
    only_b: int


@dataclass(frozen=True, slots=True)
class OptionDifference:
    """A setting of two runs that is not the same; None where a run did not have it."""

    name: str
    a: Scalar | tuple[Scalar, ...]
    b: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Difference:
    """Two checkpoints or reports side by side; ``verdict`` says in one line how they are related.

    ``relation``: ``identical``; ``changed`` (the same shapes, other weights); ``cut`` (one was cut from the
    other file, by the digest in its recipe); ``resized`` (the same layers in other widths); ``alike`` (the
    same layers, and nothing known of the weights); ``described`` (a report and the file that it is about);
    ``runs`` (two runs on one network); ``different`` (of different networks, which have no ``layers`` to
    compare). ``tensors`` is None where weights were not compared. Quality with ``data`` is that of the
    checkpoints on it, B's agreement is with A. ``gates`` are judged on B, and what accuracy drops by from A.
    ``command`` is what was typed.
    """

    version: str
    a: Side
    b: Side
    relation: Relation
    verdict: str
    layers: tuple[LayerDifference, ...] = ()
    groups: tuple[GroupDifference, ...] = ()
    tensors: TensorCounts | None = None
    options: tuple[OptionDifference, ...] = ()
    data: DataFacts | None = None
    gates: tuple[Gate, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    schema: Literal["prunecli.diff/1"] = "prunecli.diff/1"

    @property
    def same_inputs(self) -> bool:
        """Whether MACs of the two can be compared: both were counted on inputs of the same shapes."""
        first, second = (tuple(each.shape for each in side.inputs) for side in (self.a, self.b))
        return first == second

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)

"""What ``prune`` has to say, as frozen dataclasses with a versioned JSON form.

Four documents: :class:`Report` (``prunecli.report/1``, one run), :class:`Inspection`
(``prunecli.inspect/1``), :class:`Explanation` (``prunecli.explain/1``) and :class:`Verification`
(``prunecli.verify/1``); more are in ``measured.py``, ``scored.py`` and ``trained.py``. Renderers read these
and nothing else. Within one schema version fields are only ever added; ``docs/report.schema.json`` is
generated from the classes below.

Units: ``params`` are elements, ``macs`` multiply-adds of one forward at batch 1, ``bytes`` those of the
tensors of the state_dict, times are seconds. Files appear by name, never by path, so a report can be passed
on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from math import isfinite
from typing import Any, Literal, TypeAlias

from prunecli.report.epochs import TrainedStage
from prunecli.report.figures import Quality, RepairFacts, ScoreHistogram
from prunecli.report.gated import Gate
from prunecli.report.sparse import LayerSparsity
from prunecli.report.timed import Latency

Scalar: TypeAlias = str | int | float | bool | None
Status = Literal["pruned", "whole", "prunable"]


@dataclass(frozen=True, slots=True)
class Source:
    """The checkpoint that was read: file name, SHA-256, layout in words, and what beside the weights was
    left out.
    """

    name: str
    digest: str
    layout: str
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """The network the weights belong to. ``assumed``: what the file cannot show. ``notes``: how it was found.

    ``spec`` is None for a module that was handed over in Python.
    """

    spec: str | None
    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """One input of the traced forward; ``shape`` includes the batch."""

    shape: tuple[int, ...]
    dtype: str = "float32"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Goal:
    """The target. ``kind``: speedup, flops, params or ratio; plan, or groups where every group that was cut
    had a ratio of its own: then ``asked`` is None and ``reached`` dense / pruned MACs.
    """

    kind: str
    asked: float | None
    reached: float
    tolerance: float
    met: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Size of a whole network."""

    params: int
    macs: int
    bytes: int


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A module with parameters or arithmetic of its own (``name`` is '' for the network itself).

    ``shape`` is that of its weight, or of its first parameter, or () without one. ``sparsity`` is the
    fraction of exact zeros among its dense parameters. In an inspection before and after are the same.
    """

    name: str
    type: str
    shape_before: tuple[int, ...]
    shape_after: tuple[int, ...]
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    sparsity: float


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One coupled group. ``layers``: the modules it reaches, in execution order.

    ``status`` is ``pruned``, ``whole`` (``reason`` says why, always) or, in an inspection, ``prunable``.
    ``value_changing``: why equality with the masked network is not to be expected, or None.
    """

    name: str
    kind: str
    dense: int
    kept: int
    layers: tuple[str, ...]
    status: Status
    reason: str | None = None
    value_changing: str | None = None


@dataclass(frozen=True, slots=True)
class PinnedRow:
    """A parameter dimension that cannot be cut."""

    parameter: str
    dim: int
    reason: str


@dataclass(frozen=True, slots=True)
class Proof:
    """One check of the result. ``error`` and ``tolerance`` where it was a measurement (null in JSON if not
    finite).
    """

    name: str
    passed: bool
    error: float | None = None
    tolerance: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """The file that was written: name, SHA-256, bytes on disk."""

    name: str
    digest: str
    bytes: int


@dataclass(frozen=True)
class Report:
    """Everything about one ``prune run``.

    ``counter`` is who counted the MACs (``fvcore`` or ``torch``), ``unsupported`` what it skipped (operator
    -> times). ``steps`` has the seconds of every pruning step, ``timings`` those of the stages,
    which do not overlap. ``checkpoint`` is None for a module, ``output`` None until the result is saved.
    ``options`` are the settings that shaped the result. ``repair`` is None where none was asked for;
    ``quality`` has the ``dense``, the ``cut`` and the ``repaired`` network on the data, where there is any,
    and the ``finetuned`` one where it was trained; ``training`` has the stages of that. ``latency`` is None
    where it was not measured, ``sparsity`` is that of the result. ``gates`` are the limits that were set;
    where one does not hold, ``output`` is None.
    """

    version: str
    command: tuple[str, ...]
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    target: Goal
    before: Totals
    after: Totals
    counter: str
    unsupported: Mapping[str, int]
    layers: tuple[LayerRow, ...]
    groups: tuple[GroupRow, ...]
    pinned: tuple[PinnedRow, ...]
    steps: tuple[float, ...]
    timings: Mapping[str, float]
    proofs: tuple[Proof, ...]
    options: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    output: Output | None = None
    notes: tuple[str, ...] = ()
    repair: RepairFacts | None = None
    quality: Mapping[str, Quality] = field(default_factory=dict)
    training: tuple[TrainedStage, ...] = ()
    latency: Latency | None = None
    sparsity: tuple[LayerSparsity, ...] = ()
    scores: tuple[ScoreHistogram, ...] = ()
    gates: tuple[Gate, ...] = ()
    schema: Literal["prunecli.report/1"] = "prunecli.report/1"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)


@dataclass(frozen=True)
class Inspection:
    """What is in a checkpoint, and what of it can be removed together. ``latency`` is None where it was not
    measured, ``command`` empty in Python.
    """

    version: str
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    totals: Totals
    counter: str
    unsupported: Mapping[str, int]
    layers: tuple[LayerRow, ...]
    groups: tuple[GroupRow, ...]
    pinned: tuple[PinnedRow, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    latency: Latency | None = None
    sparsity: tuple[LayerSparsity, ...] = ()
    command: tuple[str, ...] = ()
    schema: Literal["prunecli.inspect/1"] = "prunecli.inspect/1"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)


@dataclass(frozen=True, slots=True)
class SliceRow:
    """One dimension of one tensor. ``axis`` says in words what its ``size`` indices are.

    ``role``: ``out``, ``in``, ``norm``, ``bias``, ``other``; ``buffer`` and ``tied`` (another name of a
    parameter) are cut like them but never scored; '' where nothing can be removed, for ``reason`` (None where
    that goes without saying). Beside groups that are left whole, ``reason`` is why the rest stays.
    """

    tensor: str
    dim: int
    size: int
    role: str
    axis: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class UseRow:
    """An operator that units of a group went through, ``times`` times in the module ``where``.

    ``effect``: it ``makes`` them, ``takes`` them (they end there), ``joins`` several axes that have them, or
    ``passes`` them on.
    """

    operator: str
    where: str
    effect: str
    times: int


@dataclass(frozen=True, slots=True)
class TieRow:
    """Another group whose size is tied: one step removes ``stride`` of the group explained and ``other`` of
    ``group``; both are None where sizes are tied by more than a proportion.
    """

    group: str
    stride: int | None
    other: int | None


@dataclass(frozen=True, slots=True)
class ExplainedGroup:
    """Everything about one group. ``row`` is what an inspection says of it; ``uses`` are in execution order.

    ``widths`` counts the sizes that it may have; ``tied_by`` says where its size is tied to those of the
    groups in ``ties``. ``guards`` are facts that must still hold, ``patches`` attributes of modules that
    follow, both as formulas in the sizes of groups.
    """

    row: GroupRow
    slices: tuple[SliceRow, ...]
    uses: tuple[UseRow, ...]
    widths: int
    ties: tuple[TieRow, ...]
    tied_by: str | None
    guards: tuple[str, ...]
    patches: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """What goes together with ``name``: ``slices`` are the dimensions of the tensors it names, ``groups``
    what can be removed there.
    """

    version: str
    checkpoint: Source | None
    network: NetworkFacts
    inputs: tuple[Input, ...]
    name: str
    slices: tuple[SliceRow, ...]
    groups: tuple[ExplainedGroup, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: Literal["prunecli.explain/1"] = "prunecli.explain/1"

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self)


@dataclass(frozen=True)
class Verification:
    """The proofs taken on a written file. ``against`` is the dense checkpoint, where one was given.

    ``changed_by`` names what changed the weights after the cut, as the recipe records it.
    """

    version: str
    output: Output
    network: NetworkFacts
    proofs: tuple[Proof, ...]
    against: Source | None = None
    changed_by: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    schema: Literal["prunecli.verify/1"] = "prunecli.verify/1"

    @property
    def passed(self) -> bool:
        """True when every proof holds; the command exits 4 otherwise."""
        return all(proof.passed for proof in self.proofs)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, dicts and scalars, ready for ``json.dumps``."""
        return document(self) | {"passed": self.passed}


def document(value: Any) -> dict[str, Any]:
    """``value`` as JSON with the schema name first, where a reader looks for it."""
    content: dict[str, Any] = _plain(value)
    return {"schema": value.schema} | content


def document_value(value: Any) -> Any:
    """A part of a document by itself."""
    return _plain(value)


def _plain(value: Any) -> Any:
    """Dataclasses to dicts and tuples to lists, all the way down; a float that JSON cannot hold becomes
    null.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value

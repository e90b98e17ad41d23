"""``prune diff``: two checkpoints or reports side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from prunecli import __version__, unidentified
from prunecli.checkpoint.specs import InputSpec, Scalar
from prunecli.clock import Clock
from prunecli.comparing import Compared, compared, same_layers
from prunecli.data import Samples, open_data
from prunecli.data.specs import shown
from prunecli.errors import InputError, UsageError, require_range
from prunecli.gates import Figures, Gates, require_measurable
from prunecli.gating import median, require_labels
from prunecli.latency import STAGE, measured
from prunecli.measuring import sizes
from prunecli.opening import Naming, Subject, open_against, open_any
from prunecli.quality import measure
from prunecli.report.differences import Difference, OptionDifference, Side, Sizes
from prunecli.report.figures import DataFacts, Quality
from prunecli.report.model import Inspection, LayerRow, Report, document_value
from prunecli.report.reading import is_report, read_report
from prunecli.report.relations import Document, joined_groups, joined_layers, related
from prunecli.report.rows import layer_rows
from prunecli.report.text import shape
from prunecli.report.trained import Finetuning
from prunecli.subjects import choose_device
from prunecli.unidentified import Unidentified
from prunecli.unsafe import opened as read_file

_ONE, _OTHER = "the first network", "the second network"


_Opened: TypeAlias = Subject | Document | Unidentified


@dataclass(frozen=True)
class _Seen:
    """One of the two, opened. ``layers`` in which a row's two halves are what the side is about."""

    side: Side
    layers: tuple[LayerRow, ...]
    subject: Subject | None = None
    tensors: Mapping[str, Tensor] | None = None
    document: Document | None = None
    notes: tuple[str, ...] = ()

    @property
    def told(self) -> list[str]:
        """What to know of it, each with its name."""
        return [f"{self.side.name}: {note}" for note in (*self.side.network.notes, *self.notes)]


def diff(
    a: str | Path,
    b: str | Path,
    *,
    data: str | Samples | None = None,
    samples: int | None = None,
    batch_size: int = 64,
    transform: str | None = None,
    arch: str | None = None,
    arch_args: Mapping[str, Scalar] | None = None,
    inputs: Sequence[str] = (),
    unsafe_load: bool = False,
    seed: int = 0,
    device: str = "auto",
    gates: Mapping[str, float] | Gates | None = None,
    progress: Callable[[str], None] | None = None,
) -> Difference:
    """How ``b`` differs from ``a``, each a checkpoint (dense or pruned) or the JSON of the report of a run,
    of a training or of an inspection.

    ``arch``, ``arch_args`` and ``inputs`` name the network of both. What is a checkpoint is measured on
    ``data``, as :func:`prunecli.evaluate` takes it. ``gates`` are limits as for :func:`prunecli.prune`,
    judged on ``b``; ``max_drop`` is taken from the accuracy of ``a``. Raises ``UsageError`` and
    ``InputError``.
    """
    require_range(batch_size >= 1, "--batch-size", batch_size, "a whole number from 1")
    limits, where = Gates.of(gates), choose_device(device)
    one, other = Path(a), Path(b)
    require_measurable(limits, one, other, data)
    clock = Clock(progress)
    naming = Naming(None, arch, arch_args, inputs, unsafe_load)
    with clock.stage("read"):
        runs = data is not None or limits.max_latency is not None
        opened = _opened(one, other, naming, named=runs or arch is not None)
    with clock.stage("count"):
        alone = replace(naming, inputs=()) if not inputs or _unlike(*opened) else None
        first, second = _seen(one, opened[0], alone), _seen(other, opened[1], alone)
    with clock.stage("compare"):
        found = _compared(first, second)
    notes = [*first.told, *second.told, *_apart(found)]
    if data is not None:
        with clock.stage("data"):
            specs = next(seen.subject.network.specs for seen in (second, first) if seen.subject is not None)
            read = data if isinstance(data, Samples) else open_data(
                data, specs, samples=samples, seed=seed, transform=transform, part="test"
            )  # fmt: skip
            require_labels(limits, read)
        with clock.stage("evaluate"):
            measured = _measured(first, second, read, where, batch_size, progress)
        found = replace(found, data=DataFacts(shown(read.origin), len(read), read.labelled))
        found = replace(found, a=_with(found.a, measured.get(_ONE)), b=_with(found.b, measured.get(_OTHER)))
        notes += read.notes
    if limits.max_latency is not None and second.subject is not None:
        with clock.stage(STAGE):
            found = _timed(found, first, second.subject, where)
    figures = Figures.of(found.b.totals, found.b.quality, found.a.quality, found.b.latency)
    told = tuple(dict.fromkeys((*notes, *found.notes)))
    return replace(found, gates=limits.judged(figures), timings=dict(clock.seconds), notes=told)


def _opened(a: Path, b: Path, naming: Naming, named: bool) -> tuple[_Opened, _Opened]:
    """A pruned file says of what network it is; that may help with the other. ``named``: both networks have
    to be known.
    """
    if is_report(a) or is_report(b):
        told = {path: read_report(path) for path in (a, b) if is_report(path)}
        naming = replace(naming, fallback=_inputs(next(iter(told.values()))))
        first, second = (told[path] if path in told else _known(path, naming) for path in (a, b))
        return first, second
    try:
        last = open_any(b, naming)
    except (InputError, UsageError):
        one = _open(a, naming, named)
        return one, _beside(b, naming, one, named)
    one = _beside(a, naming, last, named)
    if last.recipe is None and isinstance(one, Subject) and one.recipe is not None:
        return one, _beside(b, naming, one, named)
    return one, last


def _beside(path: Path, naming: Naming, other: Subject | Unidentified, named: bool) -> Subject | Unidentified:
    if isinstance(other, Subject) and other.recipe is not None:
        try:
            return open_against(path, naming, other)
        except (InputError, UsageError):
            pass  # Of another network, then.
    return _open(path, naming, named)


def _open(path: Path, naming: Naming, named: bool) -> Subject | Unidentified:
    if named:
        return _known(path, naming)
    try:
        return open_any(path, naming)
    except UsageError as error:
        raise _naming(path, error) from None
    except InputError as error:
        # What cannot be read at all raises here.
        return Unidentified(read_file(path, naming.unsafe_load).checkpoint, error)


def _known(path: Path, naming: Naming) -> Subject:
    """Raises errors that name the file."""
    try:
        return open_any(path, naming)
    except (InputError, UsageError) as error:
        raise _naming(path, error) from None


def _naming(path: Path, error: InputError | UsageError) -> InputError | UsageError:
    if path.name in error.message:
        return error
    kind = InputError if isinstance(error, InputError) else UsageError
    return kind(f"{path.name}: {error.message}", error.hint)


def _inputs(document: Document) -> tuple[InputSpec, ...]:
    """None where they are none that a network could be given."""
    try:
        return tuple(
            InputSpec.from_json({**document_value(each), "bounds": None}, "inputs")
            for each in document.inputs
        )
    except InputError:
        return ()


def _apart(found: Difference) -> list[str]:
    """Why there is no ratio of MACs."""
    if found.same_inputs or None in (found.a.totals.macs, found.b.totals.macs):
        return []
    shapes = [", ".join(shape(each.shape) for each in side.inputs) or "-" for side in (found.a, found.b)]
    return [
        f"MACs are of different inputs, and not compared: {found.a.name} takes {shapes[0]}, "
        f"{found.b.name} {shapes[1]}"
    ]


def _unlike(a: _Opened, b: _Opened) -> bool:
    if not isinstance(a, Subject) or not isinstance(b, Subject):
        return False
    return not same_layers(a.network.module.state_dict(), b.network.module.state_dict())


def _seen(path: Path, found: _Opened, alone: Naming | None) -> _Seen:
    """``alone``: how a network may be opened that does not take what the other, unlike it, does."""
    if isinstance(found, Subject):
        try:
            return _checkpoint(path, found)
        except InputError:
            if alone is None:
                raise
            note = "counted on its own input, since it does not run on that of the other"
            return replace(_checkpoint(path, open_any(path, alone)), notes=(note,))
    if isinstance(found, Unidentified):
        return _Seen(unidentified.side(found), (), tensors=found.checkpoint.tensors)
    if isinstance(found, Inspection):
        timed = None if found.latency is None else found.latency.before.median
        digest = None if found.checkpoint is None else found.checkpoint.digest
        side = Side(
            path.name, "inspection", digest, replace(found.network, notes=()), found.inputs,
            Sizes.of(found.totals), found.counter, latency=timed,
        )  # fmt: skip
        return _Seen(side, found.layers, document=found)
    if isinstance(found, Finetuning):
        return _Seen(_of_training(path, found), (), document=found)
    return _Seen(_of_run(path, found), found.layers, document=found)


def _of_training(path: Path, found: Finetuning) -> Side:
    return Side(
        path.name, "training", None if found.output is None else found.output.digest,
        replace(found.network, notes=()), found.inputs, Sizes(), "", found.changed_by,
        quality=found.after, dense=found.before,
        latency=None if found.latency is None else found.latency.result.median,
    )  # fmt: skip


def _of_run(path: Path, report: Report) -> Side:
    last = [quality for name, quality in report.quality.items() if name != "dense"][-1:]
    latency = report.latency
    return Side(
        path.name, "report", None if report.output is None else report.output.digest,
        replace(report.network, notes=()), report.inputs, Sizes.of(report.after), report.counter,
        quality=last[0] if last else None, before=Sizes.of(report.before), dense=report.quality.get("dense"),
        latency=None if latency is None or latency.after is None else latency.after.median,
        latency_before=None if latency is None else latency.before.median,
    )  # fmt: skip


def _checkpoint(path: Path, subject: Subject) -> _Seen:
    network = subject.network
    size, count = sizes(network)
    changed = () if subject.recipe is None else subject.recipe.changed_by
    side = Side(
        path.name, "checkpoint", None if network.source is None else network.source.digest, network.facts,
        network.report_inputs, Sizes.of(size), count.counter, changed,
    )  # fmt: skip
    return _Seen(side, layer_rows(network.module, None, count.by_module, count.by_module), subject)


def _compared(first: _Seen, second: _Seen) -> Difference:
    a, b = first.side, second.side
    if first.tensors is not None or second.tensors is not None:
        return _by_tensors(first, second)
    if first.subject is not None and second.subject is not None:
        found = compared(first.subject, second.subject, a, b)
    else:
        found = Compared(*related(a, b, first.layers, second.layers, first.document, second.document))
    layers = (
        () if found.relation == "different" else joined_layers(first.layers, second.layers, found.changes)
    )
    groups = found.groups
    if isinstance(first.document, Report) and isinstance(second.document, Report):
        groups = joined_groups(first.document.groups, second.document.groups)
    return Difference(
        __version__, a, b, found.relation, found.verdict, layers,
        () if found.relation == "different" else groups, found.tensors,
        _options(first.document, second.document), notes=found.notes,
    )  # fmt: skip


def _by_tensors(first: _Seen, second: _Seen) -> Difference:
    """Where one of two checkpoints, at least, is of a network that is not known."""
    one, other = (
        seen.subject.network.module.state_dict() if seen.subject is not None else seen.tensors or {}
        for seen in (first, second)
    )
    found = unidentified.compared(one, other, first.side, second.side)
    rows = () if found.relation == "different" else unidentified.layers(one, other)
    return Difference(
        __version__, first.side, second.side, found.relation, found.verdict, rows, (), found.tensors
    )


def _options(a: Document | None, b: Document | None) -> tuple[OptionDifference, ...]:
    if isinstance(a, Report) and isinstance(b, Report):
        first, second = a.options, b.options
    elif isinstance(a, Finetuning) and isinstance(b, Finetuning):
        first, second = a.settings, b.settings
    else:
        return ()
    names = dict.fromkeys((*first, *second))
    pairs = ((name, first.get(name), second.get(name)) for name in names)
    return tuple(OptionDifference(name, one, other) for name, one, other in pairs if one != other)


def _timed(found: Difference, first: _Seen, second: Subject, device: torch.device) -> Difference:
    """In turns with the first network where it is the same one in other widths, else alone."""
    network = second.network
    if first.subject is None or found.relation == "different":
        alone = measured(network.module, None, network.specs, (), device=device)
        b = replace(found.b, latency=median(alone.latency))
        return replace(found, b=b, notes=(*found.notes, *alone.notes))
    both = measured(first.subject.network.module, network.module, network.specs, (), device=device)
    before = None if both.latency is None else both.latency.before.median
    a, b = replace(found.a, latency=before), replace(found.b, latency=median(both.latency))
    return replace(found, a=a, b=b, notes=(*found.notes, *both.notes))


def _with(side: Side, quality: Quality | None) -> Side:
    return side if quality is None else replace(side, quality=quality)


def _measured(
    first: _Seen, second: _Seen, samples: Samples, device: torch.device, batch_size: int,
    progress: Callable[[str], None] | None,
) -> dict[str, Quality]:  # fmt: skip
    """Of those that are checkpoints."""
    there = ((_ONE, first.subject), (_OTHER, second.subject))
    networks = {name: subject.on(device) for name, subject in there if subject is not None}
    dense = networks.get(_ONE)
    return measure(networks, samples, against=dense, batch_size=batch_size, progress=progress)

"""Which sections a document has, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prunecli.report.figures import Quality
from prunecli.report.html import course, figures, groups, layers
from prunecli.report.html.charts import Stop
from prunecli.report.html.markup import Section, Table, number, pairs, pointer, text
from prunecli.report.html.page import page
from prunecli.report.model import Output, Report, Source
from prunecli.report.text import seconds
from prunecli.report.trained import Finetuning


def result(report: Report) -> str:
    """A finished run, or one that a gate stopped, as a page."""
    network = report.network
    sections = [
        figures.gates(report.gates),
        _quality(report),
        course.training(report.training),
        layers.layers(report.layers, report.latency),
        layers.latency(report.latency, report.layers),
        groups.groups(report.groups),
        groups.scores(report.scores),
        groups.repair(report.repair),
        layers.zeros(report.sparsity),
        groups.pinned(report.pinned),
        figures.proofs(report.proofs),
        figures.notes((*network.notes, *report.notes)),
        figures.again(
            report.command, report.version, report.checkpoint, network, report.inputs, report.output,
            _circumstances(report),
        ),
    ]  # fmt: skip
    head = figures.verdict(report.target, report.proofs, report.gates) + figures.headline(
        report.before, report.after, report.latency, _accuracy(report.quality)
    )
    return page(_title(report.checkpoint, report.output), network.spec, head, _known(sections))


def finetuning(found: Finetuning) -> str:
    """A finished training as a page."""
    named = {"dense": found.dense, "before": found.before, "after": found.after}
    networks = {name: quality for name, quality in named.items() if quality is not None}
    what, key = course.figure_of(networks.values())
    sections = [
        figures.gates(found.gates),
        course.quality(networks, {name: pointer(name) for name in networks}, _stops(found, key), what),
        Section("training", "Training", _training(found)),
        layers.latency(found.latency, ()),
        figures.proofs(found.proofs),
        figures.notes((*found.network.notes, *found.notes)),
        figures.again(
            found.command, found.version, found.checkpoint, found.network, found.inputs, found.output,
            _rest(found),
        ),
    ]  # fmt: skip
    reached = "".join((*_reached(found), *figures.timed(found.latency)))
    head = figures.verdict(None, found.proofs, found.gates) + f'<dl class="headline">{reached}</dl>'
    return page(_title(found.checkpoint, found.output), found.network.spec, head, _known(sections))


def _title(source: Source | None, output: Output | None) -> str:
    read = source.name if source else "module"
    return f"{read} → {output.name}" if output else read


def _known(sections: Iterable[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None]


def _quality(report: Report) -> Section | None:
    networks = report.quality
    what, key = course.figure_of(networks.values())
    places = {name: pointer("quality", name) for name in networks}
    return course.quality(networks, places, course.stops(networks, report.training, key), what)


def _accuracy(networks: Mapping[str, Quality]) -> list[str]:
    """Of the last network, beside the dense one."""
    if not networks:
        return []
    name, last = list(networks.items())[-1]
    what, key = course.figure_of([last])
    dense = networks.get("dense")
    beside = ""
    if dense is not None and key == "top1" and name != "dense":
        beside = f"dense {number(dense.top1, '{:.2%}'.format, '/quality/dense/top1')}"
    value = getattr(last, key)
    return figures.accuracy(f"{what}, {name}", value, f"{pointer('quality', name)}/{key}", beside)


def _circumstances(report: Report) -> list[tuple[str, str]]:
    rows = [
        ("MACs counted by", text(report.counter)),
        ("not counted", figures.uncounted(report.unsupported)),
        ("options", figures.settings(report.options, "/options")),
        ("time", figures.spent(report.timings)),
        (
            "rounds of pruning",
            ", ".join(number(value, seconds, pointer("steps", i)) for i, value in enumerate(report.steps)),
        ),
    ]
    return [(name, value) for name, value in rows if value]


def _stops(found: Finetuning, key: str) -> list[Stop]:
    named = {"dense": found.dense, "before": found.before, "after": found.after}
    known = {name: getattr(quality, key) for name, quality in named.items() if quality is not None}
    single = [Stop(name, (value,)) for name, value in known.items() if value is not None]
    last = [stop for stop in single if stop.name == "after"]
    return [
        *(stop for stop in single if stop not in last),
        *course.epochs_of("training", found.epochs, key),
        *last,
    ]


def _training(found: Finetuning) -> tuple[str | Table, ...]:
    facts = [
        ("data", course.data(found.data, "/data")),
        *([("measured on", course.data(found.validation, "/validation"))] if found.validation else []),
        *([("learned from", text(found.against.name))] if found.against else []),
        *course.best(found.best, ""),
        *course.regularizer(found.sparsity, "/sparsity"),
    ]
    return pairs(facts), course.epochs(found.epochs, "/epochs")


def _reached(found: Finetuning) -> list[str]:
    if found.after is None:
        return []
    what, key = course.figure_of([found.after])
    beside = []
    for name, quality in (("before", found.before), ("dense", found.dense)):
        value = None if quality is None else getattr(quality, key)
        if value is not None:
            beside.append(f"{name} {number(value, '{:.2%}'.format, pointer(name, key))}")
    return figures.accuracy(what, getattr(found.after, key), f"/after/{key}", ", ".join(beside))


def _rest(found: Finetuning) -> list[tuple[str, str]]:
    rows = [("trained on", course.where(found.device, found.threads, ""))]
    rows.append(("processes", number(found.processes, str, "/processes")))
    if found.against:
        rows.append((found.against.name, f'<code class="digest">sha256 {text(found.against.digest)}</code>'))
    rows += [
        ("weights changed by", text(", ".join(found.changed_by))),
        ("settings", figures.settings(found.settings, "/settings")),
        ("time", figures.spent(found.timings)),
    ]
    return [(name, value) for name, value in rows if value]
